//! Decisions of both ends of the conversation. Pure and synchronous: time and randomness are arguments.
