//! `meltica completions` and `meltica man`: made of the same definition as the command line itself.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Command;
use clap_complete::Shell;

use super::{EXIT_FAILED, EXIT_OK};

/// Completions of a shell, on standard output.
#[derive(Debug, clap::Args)]
pub struct Completions {
    /// Which shell; bash reads what stands in `/etc/bash_completion.d/meltica`.
    shell: Shell,
}

/// The manual page, on standard output, or all pages as files.
#[derive(Debug, clap::Args)]
pub struct Manual {
    /// Writes a page for each command into this directory.
    #[arg(long)]
    dir: Option<PathBuf>,
}

impl Completions {
    /// Prints them.
    pub fn run(self, mut command: Command) -> u8 {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut command, "meltica", &mut text);
        print(&text)
    }
}

impl Manual {
    /// Prints or writes it.
    pub fn run(self, command: Command) -> u8 {
        if let Some(dir) = self.dir {
            let written =
                std::fs::create_dir_all(&dir).and_then(|()| clap_mangen::generate_to(command, &dir));
            return match written {
                Ok(()) => EXIT_OK,
                Err(error) => {
                    errln!("meltica: cannot write manual pages into {}: {error}", dir.display());
                    EXIT_FAILED
                }
            };
        }
        let mut text = Vec::new();
        match clap_mangen::Man::new(command).render(&mut text) {
            Ok(()) => print(&text),
            Err(error) => {
                errln!("meltica: {error}");
                EXIT_FAILED
            }
        }
    }
}

/// Writes to standard output; a reader that has enough is no failure.
fn print(text: &[u8]) -> u8 {
    match io::stdout().write_all(text) {
        Ok(()) => EXIT_OK,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => EXIT_OK,
        Err(error) => {
            errln!("meltica: {error}");
            EXIT_FAILED
        }
    }
}
