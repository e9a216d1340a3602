//! The open jobs of one object, in order.

use super::Ticket;
use std::collections::BTreeSet;

/// Who is next in a lane, for each step that keeps order.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Not durable in the journal yet.
    unsaved: BTreeSet<Ticket>,
    /// Not applied, or a deletion that goes on: only the first may be applied.
    queue: BTreeSet<Ticket>,
    /// Applied, waits for its goal: the next that is applied supersedes it.
    waiting: Option<Ticket>,
    /// Without a durable result.
    unsettled: BTreeSet<Ticket>,
    /// Every open job.
    open: BTreeSet<Ticket>,
}

impl Lane {
    pub(super) fn insert(&mut self, ticket: Ticket, unsaved: bool) {
        if unsaved {
            self.unsaved.insert(ticket);
        }
        self.queue.insert(ticket);
        self.unsettled.insert(ticket);
        self.open.insert(ticket);
    }

    /// Whose turn it is to be applied.
    pub(super) fn head(&self) -> Option<Ticket> {
        self.queue.first().copied()
    }

    /// The open jobs behind this one.
    pub(super) fn after(&self, ticket: Ticket) -> impl Iterator<Item = Ticket> {
        self.open.range(ticket.saturating_add(1)..).copied()
    }

    /// The open jobs before this one.
    pub(super) fn before(&self, ticket: Ticket) -> impl Iterator<Item = Ticket> {
        self.open.range(..ticket).copied()
    }

    /// Whose turn it is to be saved: a later job must not be durable without an earlier one.
    pub(super) fn next_to_save(&self) -> Option<Ticket> {
        self.unsaved.first().copied()
    }

    /// The first unsaved one is durable; gives the next.
    pub(super) fn handle_saved(&mut self) -> Option<Ticket> {
        self.unsaved.pop_first();
        self.next_to_save()
    }

    /// The API server took this job; gives the one that waited until now.
    pub(super) fn handle_taken(&mut self, ticket: Ticket, waits: bool) -> Option<Ticket> {
        std::mem::replace(&mut self.waiting, waits.then_some(ticket))
    }

    /// Gives the job's turn away; answers whether it held it, or a place behind.
    pub(super) fn release(&mut self, ticket: Ticket) -> bool {
        self.queue.remove(&ticket)
    }

    /// Who was applied and waits for its goal.
    pub(super) fn waiting(&self) -> Option<Ticket> {
        self.waiting
    }

    /// The job's result is durable, or nobody wants one. Gives those, itself perhaps among them, whose story no earlier
    /// job can repeat from now on: each once in its life.
    pub(super) fn settle(&mut self, ticket: Ticket) -> Vec<Ticket> {
        let was_first = self.unsettled.first() == Some(&ticket);
        self.unsettled.remove(&ticket);
        self.unsaved.remove(&ticket);
        if self.waiting == Some(ticket) {
            self.waiting = None;
        }
        if !was_first {
            return Vec::new();
        }
        let next = self.unsettled.first().copied().unwrap_or(Ticket::MAX);
        self.open.range(ticket..next).copied().collect()
    }

    /// Whether every earlier job has a durable result, or nobody wants one.
    pub(super) fn is_settled_before(&self, ticket: Ticket) -> bool {
        self.unsettled.first().is_none_or(|first| *first >= ticket)
    }

    /// Whether no earlier job could still be repeated after a crash, and this one's part in its story be missing.
    pub(super) fn may_forget(&self, ticket: Ticket) -> bool {
        self.unsettled.first().is_none_or(|first| *first > ticket)
    }

    /// Takes the job out; answers whether the lane is empty.
    pub(super) fn remove(&mut self, ticket: Ticket) -> bool {
        self.settle(ticket);
        self.queue.remove(&ticket);
        self.open.remove(&ticket);
        self.open.is_empty()
    }
}
