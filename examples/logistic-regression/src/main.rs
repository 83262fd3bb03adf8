//! A research program: fits a logistic regression to a table that its author may never see.
//!
//! Usage: `logistic-regression [--target COLUMN] [--steps N]`
//!
//! Reads the only file under `/data`. Prints coefficients, accuracy and a confusion matrix; writes `/out/model.json`.
//! Everything it does is deterministic, so that anybody who may run it on the same data gets the same bytes.

mod model;
mod table;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use model::{Confusion, Model};
use table::Table;

/// Every fifth row is kept for testing.
const TEST_EVERY: usize = 5;
const STEPS: usize = 1000;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let options = Options::parse(std::env::args().skip(1))?;
    let text = fs::read_to_string(only_input()?).map_err(|error| format!("cannot read the data: {error}"))?;
    let table = Table::parse(&text, options.target.as_deref())?;
    let (training, test) = table.split(TEST_EVERY);
    if training.is_empty() || test.is_empty() {
        return Err(format!("{} rows are too few", table.rows.len()));
    }
    let model = Model::fit(&training, options.steps);
    let confusion = Confusion::of(&model, &test);
    print!("{}", report(&table, &model, training.len(), &confusion));
    fs::write("/out/model.json", json(&table, &model, &confusion)).map_err(|error| error.to_string())
}

struct Options {
    target: Option<String>,
    steps: usize,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { target: None, steps: STEPS };
        while let Some(arg) = args.next() {
            let value = args.next().ok_or_else(|| format!("{arg} needs a value"))?;
            match arg.as_str() {
                "--target" => options.target = Some(value),
                "--steps" => options.steps = value.parse().map_err(|_| format!("{value} is no number of steps"))?,
                _ => return Err(format!("unknown argument {arg}")),
            }
        }
        Ok(options)
    }
}

fn only_input() -> Result<PathBuf, String> {
    let entries = fs::read_dir("/data").map_err(|error| format!("cannot list /data: {error}"))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    match (paths.pop(), paths.is_empty()) {
        (Some(path), true) => Ok(path),
        (None, _) => Err("there is no data".into()),
        _ => Err("there is more than one data file".into()),
    }
}

fn report(table: &Table, model: &Model, training: usize, confusion: &Confusion) -> String {
    let mut text = format!("logistic regression for {}\n", table.target);
    text += &format!("{training} rows for training, {} for testing\n\n", confusion.total());
    text += &format!("{:<28} {:>12}\n", "column (standardised)", "coefficient");
    for (name, weight) in table.columns.iter().zip(&model.weights) {
        text += &format!("{name:<28} {weight:>12.6}\n");
    }
    text += &format!("{:<28} {:>12.6}\n\n", "(intercept)", model.intercept);
    text += &format!("accuracy  {:.4}\n\n", confusion.accuracy());
    text += "confusion matrix    predicted 0  predicted 1\n";
    for (actual, counts) in confusion.counts.iter().enumerate() {
        text += &format!("actual {actual}            {:>11}  {:>11}\n", counts[0], counts[1]);
    }
    text
}

fn json(table: &Table, model: &Model, confusion: &Confusion) -> String {
    let number = |numbers: &[f64]| numbers.iter().map(|n| format!("{n:.12e}")).collect::<Vec<_>>().join(",");
    let names = table.columns.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(",");
    format!(
        "{{\"target\":{},\"columns\":[{names}],\"mean\":[{}],\"deviation\":[{}],\"weights\":[{}],\"intercept\":{:.12e},\
         \"accuracy\":{:.6},\"confusion\":[[{},{}],[{},{}]]}}\n",
        quoted(&table.target),
        number(&model.mean),
        number(&model.deviation),
        number(&model.weights),
        model.intercept,
        confusion.accuracy(),
        confusion.counts[0][0],
        confusion.counts[0][1],
        confusion.counts[1][0],
        confusion.counts[1][1],
    )
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control < ' ' => quoted += &format!("\\u{:04x}", control as u32),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
