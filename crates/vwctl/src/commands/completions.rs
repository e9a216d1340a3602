//! `vwctl completions`.

use crate::{Arguments, Error, output};
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

/// Print the completion script of a shell.
#[derive(Args, Debug)]
pub struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self) -> Result<(), Error> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "vwctl", &mut script);
        output::print(&String::from_utf8_lossy(&script))
    }
}
