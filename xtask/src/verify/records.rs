//! What the models write down, and what is kept of it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// A line of the file that the test binary writes.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// The named memory orderings, at the start of each run.
    Sites {
        sites: Vec<(String, String)>,
    },
    Begin {
        name: String,
    },
    End(Box<Record>),
}

impl Event {
    pub fn is_end(&self) -> bool {
        matches!(self, Self::End(_))
    }
}

/// One result.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub enum Record {
    Model(Model),
    Checker(Checker),
    Ordering(Ordering),
    Planted(Planted),
    Cut(Cut),
    Proof(Proof),
    Threads(Threads),
}

/// A model in one variant.
#[derive(Serialize, Deserialize)]
pub struct Model {
    pub name: String,
    pub about: About,
    pub budget: u16,
    pub loads: String,
    /// The preemption bound; none if everything was explored.
    pub bound: Option<u32>,
    pub executions: u64,
    #[serde(default, skip_serializing)]
    pub failure: Option<String>,
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct About {
    pub claim: String,
    pub model: String,
    pub threads: u32,
    pub operations: String,
    pub adversary: String,
}

/// A test of loom itself, in one load mode.
#[derive(Serialize, Deserialize)]
pub struct Checker {
    pub name: String,
    pub checker: String,
    pub loads: String,
    pub allowed: Vec<String>,
    pub seen: Vec<String>,
    #[serde(default, skip_serializing)]
    pub failure: Option<String>,
}

/// A memory ordering, weakened.
#[derive(Serialize, Deserialize)]
pub struct Ordering {
    pub site: String,
    pub ordering: String,
    pub weaker: String,
    /// Which model failed, after how many executions.
    pub killed_by: Option<(String, u64)>,
}

/// A bug that was planted in a copy of the source, for the models to find.
#[derive(Serialize, Deserialize)]
pub struct Planted {
    /// What it makes of the algorithm.
    pub bug: String,
    /// Where, and how.
    pub edit: String,
    /// Which model failed first, after how many executions.
    pub found_by: Option<(String, u64)>,
}

/// A model that did not come to its end in time: it shows nothing.
#[derive(Serialize, Deserialize)]
pub struct Cut {
    pub name: String,
    pub minutes: u64,
}

/// A step of the proof in xtask/gate-proof/.
#[derive(Serialize, Deserialize)]
pub struct Proof {
    pub step: String,
    /// What it summed up.
    pub figures: Vec<String>,
}

/// The primitives on real threads, under a tool that found nothing.
#[derive(Serialize, Deserialize)]
pub struct Threads {
    pub tool: String,
    /// What it would have found.
    pub watched: String,
    pub extent: String,
}

impl Record {
    /// By what it is known.
    pub fn key(&self) -> String {
        match self {
            Self::Model(model) => model.name.clone(),
            Self::Checker(test) => test.name.clone(),
            Self::Ordering(ordering) => format!("ordering {}", ordering.site),
            Self::Planted(planted) => format!("planted {}", planted.bug),
            Self::Cut(cut) => cut.name.clone(),
            Self::Proof(proof) => format!("proof {}", proof.step),
            Self::Threads(threads) => format!("threads {}", threads.tool),
        }
    }

    /// The name of the test, if it is one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Model(model) => Some(&model.name),
            Self::Checker(test) => Some(&test.name),
            Self::Cut(cut) => Some(&cut.name),
            Self::Ordering(_) | Self::Planted(_) | Self::Proof(_) | Self::Threads(_) => None,
        }
    }

    pub fn executions(&self) -> u64 {
        if let Self::Model(model) = self { model.executions } else { 0 }
    }

    /// What a model says of itself.
    pub fn about(&self) -> Option<&About> {
        match self {
            Self::Model(model) => Some(&model.about),
            _ => None,
        }
    }

    /// What went wrong, with the test's name.
    pub fn failure(&self) -> Option<String> {
        let (name, failure) = match self {
            Self::Model(model) => (&model.name, &model.failure),
            Self::Checker(test) => (&test.name, &test.failure),
            _ => return None,
        };
        failure.as_ref().map(|why| format!("{name}: {why}"))
    }
}

/// The test binary's lines so far. The last one may still be on its way.
pub fn events(path: &Path) -> Result<Vec<Event>> {
    let Ok(text) = fs::read_to_string(path) else { return Ok(Vec::new()) };
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).context(line.to_owned())).collect()
}

/// The named memory orderings that the test binary has.
pub fn sites(path: &Path) -> Result<Vec<(String, String)>> {
    let sites = events(path)?.into_iter().find_map(|event| match event {
        Event::Sites { sites } => Some(sites),
        _ => None,
    });
    sites.context("the models name no memory orderings")
}

/// The evidence that is kept; none if there is none yet.
pub fn read(path: &Path) -> Result<Vec<Record>> {
    let Ok(text) = fs::read_to_string(path) else { return Ok(Vec::new()) };
    text.lines().map(|line| serde_json::from_str(line).context(line.to_owned())).collect()
}

pub fn write<'a>(path: &Path, records: impl Iterator<Item = &'a Record>) -> Result<()> {
    let lines = records.map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, lines.join("\n") + "\n").with_context(|| path.display().to_string())
}
