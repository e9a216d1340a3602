//! A child's death follows ours, even when we are killed.
//!
//! On Linux the kernel is asked to kill the child when its parent *thread* ends; hence [`super::spawner`]. Elsewhere
//! only destructors end children.
#![allow(unsafe_code, reason = "pre_exec is unsafe; between fork and exec only prctl and getppid are called")]

use std::process::Command;

/// Asks for it, before `command` is started.
#[cfg(target_os = "linux")]
pub fn follows_ours(command: &mut Command) {
    use std::{io, os::unix::process::CommandExt as _};
    let parent = std::process::id();
    let before_exec = move || {
        // SAFETY: both calls are async-signal-safe and touch no memory of ours.
        let (asked, now) = unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL), libc::getppid()) };
        if asked != 0 {
            return Err(io::Error::last_os_error());
        }
        // We may have died between the fork and the request: then nobody would ever end the child.
        if u32::try_from(now) != Ok(parent) {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(())
    };
    // SAFETY: the closure neither allocates nor locks.
    unsafe {
        command.pre_exec(before_exec);
    }
}

/// Nothing to ask for here.
#[cfg(not(target_os = "linux"))]
pub fn follows_ours(_: &mut Command) {}
