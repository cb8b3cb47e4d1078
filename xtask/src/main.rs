//! Everything that a person runs.

mod verify;

use clap::Parser;

#[derive(Parser)]
#[command(about = "Everything that a person runs")]
enum Task {
    Verify(verify::Args),
}

fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::Verify(args) => verify::run(args),
    }
}
