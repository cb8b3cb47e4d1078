//! The schedule of an execution that failed: one column a thread, one row an event.

use std::fs;
use std::panic::Location;
use std::path::Path;

use comfy_table::{ContentArrangement, Table, presets};
use warded::model::log::{self, Deed};
use warded::model::meaning;

/// So many events are shown, the last ones.
const MOST: usize = 250;
/// So wide is the whole, in characters.
const WIDTH: u16 = 160;

/// What the current execution has done, as a table.
pub fn schedule() -> String {
    let events = log::events();
    let mut threads = Vec::new();
    for event in &events {
        if !threads.contains(&event.thread) {
            threads.push(event.thread);
        }
    }

    let mut table = Table::new();
    table.load_style(presets::ASCII_BORDERS_ONLY_CONDENSED);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    let names = (0..threads.len()).map(|number| match number {
        0 => "main".to_owned(),
        _ => format!("thread {number}"),
    });
    table.set_header(["".to_owned(), "event".to_owned()].into_iter().chain(names));

    let mut running = None;
    let skipped = events.len().saturating_sub(MOST);
    for (number, event) in events.iter().enumerate().skip(skipped) {
        let switched = running.replace(event.thread).is_some_and(|before| before != event.thread);
        let mut row = vec![String::new(); threads.len() + 2];
        row[0] = if switched { ">" } else { "" }.to_owned();
        row[1] = (number + 1).to_string();
        let column = threads.iter().position(|thread| *thread == event.thread);
        row[column.expect("each thread has a column") + 2] = describe(&event.deed);
        table.add_row(row);
    }
    let omitted = match skipped {
        0 => String::new(),
        _ => format!("  ({skipped} earlier events are left out)\n"),
    };
    format!("  schedule, with > where another thread goes on:\n{omitted}{table}\n")
}

fn describe(deed: &Deed) -> String {
    match deed {
        Deed::Step(step) => format!("** {step}"),
        Deed::Sleep => "sleeps".to_owned(),
        Deed::Awake => "is awake".to_owned(),
        Deed::Wake => "wakes a thread".to_owned(),
        Deed::Access { place, found, left, failed } => {
            let path = Path::new(place.file());
            let [file, stem] = [path.file_name(), path.file_stem()]
                .map(|part| part.unwrap_or_default().to_string_lossy());
            // The only field of a type with a file of its own.
            let atomic = name(place).filter(|name| name != "0").unwrap_or(stem.into_owned());
            let found = meaning(&atomic, *found);
            let what = match left {
                Some(left) if meaning(&atomic, *left) == found => format!("{atomic} := {found}"),
                Some(left) => format!("{atomic}: {found} -> {}", meaning(&atomic, *left)),
                None if *failed => format!("{atomic} is {found}: no exchange"),
                None => format!("{atomic} is {found}"),
            };
            format!("{what}  ({file}:{})", place.line())
        }
    }
}

/// The atomic whose method is called at that place: the word before its dot, in the source.
fn name(place: &Location<'_>) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(place.file());
    let source = fs::read_to_string(path).ok()?;
    let lines: Vec<_> = source.lines().take(place.line() as usize).collect();
    let (last, earlier) = lines.split_last()?;
    let start = last.char_indices().nth(place.column() as usize - 1).map_or(0, |(at, _)| at);
    let before = format!("{}\n{}", earlier.join("\n"), &last[..start]);
    let before = before.trim_end().strip_suffix('.')?.trim_end();
    let begin = before.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |at| at + 1);
    Some(before[begin..].to_owned())
}
