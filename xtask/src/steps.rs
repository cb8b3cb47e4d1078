//! Steps that are all taken, whatever became of those before, and summed up at the end.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use comfy_table::{Table, presets};

/// The steps so far.
#[derive(Default)]
pub struct Steps {
    taken: Vec<Step>,
}

struct Step {
    name: String,
    took: Duration,
    result: Result<()>,
}

impl Steps {
    /// Takes one step, and says in one line how it went.
    pub fn take(&mut self, name: &str, step: impl FnOnce() -> Result<()>) {
        println!("\n== {name}");
        let began = Instant::now();
        let result = step();
        let step = Step { name: name.to_owned(), took: began.elapsed(), result };
        println!("== {name}: {} in {}", step.verdict(), step.time());
        if let Err(error) = &step.result {
            println!("   {error:#}");
        }
        self.taken.push(step);
    }

    /// Whether none was taken.
    pub fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }

    /// Prints the summary, and gives a failure if a step has failed.
    pub fn sum_up(self) -> ExitCode {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED).set_header(["step", "time", "result"]);
        for step in &self.taken {
            table.add_row([&step.name, &step.time(), step.verdict()]);
        }
        let failed = self.taken.iter().filter(|step| step.result.is_err()).count();
        println!("\n{table}\n\n{} passed, {failed} failed", self.taken.len() - failed);
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

impl Step {
    fn time(&self) -> String {
        format!("{:.1} s", self.took.as_secs_f64())
    }

    fn verdict(&self) -> &'static str {
        if self.result.is_ok() { "passed" } else { "FAILED" }
    }
}
