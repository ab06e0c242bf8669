//! `meltica-parquet RECORDING... OUT.parquet`: what a recorder wrote, for research.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Writes a recording of Meltica as one Parquet file.
#[derive(Debug, Parser)]
#[command(name = "meltica-parquet", version)]
struct Arguments {
    /// What a recorder wrote: directories of recordings, or their files in order.
    #[arg(required = true, value_name = "RECORDING")]
    recordings: Vec<PathBuf>,
    /// The file to write; must not exist.
    #[arg(value_name = "OUT.parquet")]
    out: PathBuf,
}

fn main() -> ExitCode {
    let Arguments { recordings, out } = Arguments::parse();
    match meltica_parquet::convert(&recordings, &out) {
        Ok(written) => {
            println!(
                "{}: {} rows of {} event parts in {} files, {} KiB from {} KiB; {} holes",
                out.display(),
                written.rows,
                written.extent.parts,
                written.extent.files,
                written.bytes.div_ceil(1024),
                written.extent.bytes.div_ceil(1024),
                written.holes,
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("meltica-parquet: {error}");
            ExitCode::from(2)
        }
    }
}
