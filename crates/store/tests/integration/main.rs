//! The store on a real SQLite file, through its public interface alone.

mod delivery;
mod durability;
mod enqueue;
mod events;
mod identity;
mod report;
mod tenancy;
mod world;
