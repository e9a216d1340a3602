//! The control plane's decisions: who may do what, which jobs are admitted, how a job lives.
