//! docs/verification.md, from the records.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::Result;

use super::records::{About, Checker, Cut, Model, Ordering, Planted, Proof, Record, Threads};

/// The whole page.
pub fn write<'a>(records: impl Iterator<Item = &'a Record>) -> Result<String> {
    let (mut models, mut checkers) = (Vec::new(), Vec::new());
    let (mut orderings, mut planted) = (Vec::new(), Vec::new());
    let (mut cut, mut proof, mut threads) = (Vec::new(), Vec::new(), Vec::new());
    for record in records {
        match record {
            Record::Model(model) => models.push(model),
            Record::Checker(test) => checkers.push(test),
            Record::Ordering(ordering) => orderings.push(ordering),
            Record::Planted(bug) => planted.push(bug),
            Record::Cut(model) => cut.push(model),
            Record::Proof(step) => proof.push(step),
            Record::Threads(tool) => threads.push(tool),
        }
    }
    let mut page = include_str!("page/head.md").to_owned();
    model_table(&mut page, &models)?;
    cut_list(&mut page, &cut)?;
    page += include_str!("page/orderings.md");
    ordering_table(&mut page, &orderings)?;
    page += include_str!("page/planted.md");
    planted_table(&mut page, &planted)?;
    page += include_str!("page/proof.md");
    proof_table(&mut page, &proof)?;
    page += include_str!("page/threads.md");
    threads_table(&mut page, &threads)?;
    page += include_str!("page/checker.md");
    checker_table(&mut page, &checkers)?;
    page += include_str!("page/limits.md");
    Ok(page)
}

fn model_table(page: &mut String, models: &[&Model]) -> Result<()> {
    let mut by_model: BTreeMap<&About, Vec<&Model>> = BTreeMap::new();
    for &model in models {
        by_model.entry(&model.about).or_default().push(model);
    }
    let executions: u64 = models.iter().map(|model| model.executions).sum();
    writeln!(
        page,
        "{} models in {} variants, {executions} executions.\n",
        by_model.len(),
        models.len()
    )?;
    writeln!(page, "| claim | model | threads | operations | adversary | budgets | explored |")?;
    writeln!(page, "|---|---|---|---|---|---|---|")?;
    for (about, variants) in by_model {
        let About { claim, model, threads, operations, adversary } = about;
        let mut budgets: Vec<_> = variants.iter().map(|variant| variant.budget).collect();
        budgets.sort_unstable();
        budgets.dedup();
        let budgets: Vec<_> = budgets.iter().map(ToString::to_string).collect();
        writeln!(
            page,
            "| {claim} | {model} | {threads} | {operations} | {adversary} | {} | {} |",
            budgets.join(", "),
            explored(&variants)
        )?;
    }
    Ok(())
}

/// How far the variants of one model went.
fn explored(variants: &[&Model]) -> String {
    let mut by_extent: BTreeMap<_, Vec<&Model>> = BTreeMap::new();
    for &variant in variants {
        by_extent.entry((&variant.loads, variant.bound)).or_default().push(variant);
    }
    let extents: Vec<_> = by_extent
        .into_iter()
        .map(|((loads, bound), variants)| {
            let how = match bound {
                None => "exhaustive".to_owned(),
                Some(0) => "no preemption".to_owned(),
                Some(1) => "at most 1 preemption".to_owned(),
                Some(n) => format!("at most {n} preemptions"),
            };
            let executions: u64 = variants.iter().map(|variant| variant.executions).sum();
            let budgets: Vec<_> =
                variants.iter().map(|variant| variant.budget.to_string()).collect();
            format!("{loads}, B = {}: {executions}, {how}", budgets.join(", "))
        })
        .collect();
    extents.join("; ")
}

fn ordering_table(page: &mut String, orderings: &[&Ordering]) -> Result<()> {
    if orderings.is_empty() {
        writeln!(page, "Not run yet: `cargo xtask verify --orderings` does.")?;
        return Ok(());
    }
    writeln!(
        page,
        "| site | ordering | weakened to | verdict | found first by, in its execution |"
    )?;
    writeln!(page, "|---|---|---|---|---|")?;
    for Ordering { site, ordering, weaker, killed_by } in orderings {
        let (verdict, killer) = match killed_by {
            Some((model, executions)) => ("needed", format!("{model}, {executions}")),
            None => ("survives", "see below".to_owned()),
        };
        writeln!(page, "| {site} | {ordering} | {weaker} | {verdict} | {killer} |")?;
    }
    Ok(())
}

fn planted_table(page: &mut String, planted: &[&Planted]) -> Result<()> {
    if planted.is_empty() {
        writeln!(page, "Not run yet.")?;
        return Ok(());
    }
    writeln!(page, "| bug | edit | found first by, in its execution |")?;
    writeln!(page, "|---|---|---|")?;
    for Planted { bug, edit, found_by } in planted {
        let finder = match found_by {
            Some((model, execution)) => format!("{model}, {execution}"),
            None => "**nobody**".to_owned(),
        };
        writeln!(page, "| {bug} | {edit} | {finder} |")?;
    }
    Ok(())
}

/// What did not come to its end shows nothing, and is said.
fn cut_list(page: &mut String, cut: &[&Cut]) -> Result<()> {
    if cut.is_empty() {
        return Ok(());
    }
    writeln!(page, "\nNot shown, since they did not come to their end:\n")?;
    for Cut { name, minutes } in cut {
        writeln!(page, "- `{name}`, cut short after {minutes} minutes")?;
    }
    Ok(())
}

fn proof_table(page: &mut String, proof: &[&Proof]) -> Result<()> {
    if proof.is_empty() {
        writeln!(page, "Not run yet: `cargo xtask verify --proof all` does.")?;
        return Ok(());
    }
    writeln!(page, "| step | what it summed up |")?;
    writeln!(page, "|---|---|")?;
    for Proof { step, figures } in proof {
        let figures = if figures.is_empty() { "all proved".to_owned() } else { figures.join("; ") };
        writeln!(page, "| {step} | {figures} |")?;
    }
    Ok(())
}

fn threads_table(page: &mut String, threads: &[&Threads]) -> Result<()> {
    if threads.is_empty() {
        writeln!(page, "Not run yet: `cargo xtask verify --threads` does.")?;
        return Ok(());
    }
    writeln!(page, "| tool | watches for | extent | verdict |")?;
    writeln!(page, "|---|---|---|---|")?;
    for Threads { tool, watched, extent } in threads {
        writeln!(page, "| {tool} | {watched} | {extent} | found nothing |")?;
    }
    Ok(())
}

fn checker_table(page: &mut String, tests: &[&Checker]) -> Result<()> {
    writeln!(page, "| program | loads | allowed | seen | verdict |")?;
    writeln!(page, "|---|---|---|---|---|")?;
    for Checker { checker, loads, allowed, seen, .. } in tests {
        let missed: Vec<_> = allowed.iter().filter(|outcome| !seen.contains(outcome)).collect();
        let invented: Vec<_> = seen.iter().filter(|outcome| !allowed.contains(outcome)).collect();
        let verdict = match (missed.is_empty(), invented.is_empty()) {
            (true, true) => "exact".to_owned(),
            (false, true) => format!("misses {}", join(missed)),
            (true, false) => format!("invents {}", join(invented)),
            (false, false) => format!("misses {}, invents {}", join(missed), join(invented)),
        };
        writeln!(
            page,
            "| {checker} | {loads} | {} | {} | {verdict} |",
            allowed.join(", "),
            seen.join(", ")
        )?;
    }
    Ok(())
}

fn join(outcomes: Vec<&String>) -> String {
    outcomes.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}
