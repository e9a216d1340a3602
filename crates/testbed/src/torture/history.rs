//! What happened, as two witnesses saw it who know nothing of each other: those who handed jobs in, and a watch on the
//! API server. Pure.

use crate::view::Target;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use vworkspace_protocol::JobId;

/// What a job does to its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Writes its number into the object, and makes the object where it is not.
    Apply,
    /// Deletes the object.
    Delete,
}

/// One try to hand a job in. Tries of one object are made one after the other.
#[derive(Clone, Debug)]
pub struct Asked {
    /// When the answer came, or was given up.
    pub at: Timestamp,
    /// Number of the job; rises. Tries with the same number are the same job, named by its idempotency key.
    pub n: u64,
    /// What it is about.
    pub target: Target,
    /// What it does.
    pub deed: Deed,
    /// The job, when it was acknowledged with 2xx. Without: it may have been taken or not.
    pub job: Option<JobId>,
}

/// One change of an object, as the API server told it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When it was told.
    pub at: Timestamp,
    /// What changed.
    pub target: Target,
    /// The life of the name.
    pub uid: String,
    /// How.
    pub change: Change,
}

/// How an object changed. Status is no change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was made, or its wish was changed: the generation rose.
    Set {
        /// The number it carries now; 0 is none.
        n: u64,
        /// How often its wish was changed.
        generation: i64,
    },
    /// Its deletion was asked for; once in each life that ends.
    Deleting,
    /// It is gone.
    Gone,
}

/// Both records.
#[derive(Debug, Default)]
pub struct History {
    /// Every try to hand a job in, in order.
    pub asked: Vec<Asked>,
    /// Jobs whose withdrawal was acknowledged with 2xx.
    pub withdrawn: BTreeSet<JobId>,
    /// Every change, in order.
    pub seen: Vec<Seen>,
    /// The watch broke in a way that may have cost changes: then nothing can be said.
    pub gaps: u64,
    /// What is wrong without any comparison, for example a program that ended by itself.
    pub mishaps: Vec<String>,
}

/// One job as those know it who handed it in.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Its number.
    pub n: u64,
    /// What it is about.
    pub target: Target,
    /// What it does.
    pub deed: Deed,
}

impl History {
    /// The jobs that were acknowledged.
    pub fn acknowledged(&self) -> BTreeMap<JobId, Wish> {
        let taken = self.asked.iter().filter_map(|asked| {
            let wish = Wish { n: asked.n, target: asked.target.clone(), deed: asked.deed };
            Some((asked.job.clone()?, wish))
        });
        taken.collect()
    }

    /// Numbers of the jobs that may have been taken or not: no try was acknowledged.
    pub fn unknown(&self) -> BTreeSet<u64> {
        let known: BTreeSet<u64> =
            self.asked.iter().filter(|asked| asked.job.is_some()).map(|asked| asked.n).collect();
        self.asked.iter().map(|asked| asked.n).filter(|n| !known.contains(n)).collect()
    }

    /// The changes of each object, in order.
    pub fn by_target(&self) -> BTreeMap<&Target, Vec<&Seen>> {
        let mut by_target: BTreeMap<&Target, Vec<&Seen>> = BTreeMap::new();
        for seen in &self.seen {
            by_target.entry(&seen.target).or_default().push(seen);
        }
        by_target
    }
}
