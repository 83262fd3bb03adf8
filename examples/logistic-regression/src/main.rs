//! A research program: tells two classes of rows apart in a table that its author may never see.
//!
//! Usage: `logistic-regression [--target COLUMN] [--positive CLASS] [--steps N]`
//!
//! Reads the only file under `/data`. Prints how well a logistic regression does in five-fold cross-validation and the
//! coefficients of the model of all rows, and writes that model to `/out/model.json`. Everything it does is
//! deterministic, so that anybody who may run it on the same data gets the same bytes.

mod model;
mod table;
mod validation;

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use model::Model;
use table::{Row, Table};
use validation::Confusion;

const FOLDS: usize = 5;
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
    let table = Table::parse(&text, options.target.as_deref(), options.positive.as_deref())?;
    let confusion = validation::cross_validate(&table.rows, FOLDS, options.steps)?;
    let model = Model::fit(&table.rows.iter().collect::<Vec<&Row>>(), options.steps);
    print!("{}", report(&table, &model, &confusion));
    fs::write("/out/model.json", json(&table, &model, &confusion)).map_err(|error| error.to_string())
}

struct Options {
    target: Option<String>,
    positive: Option<String>,
    steps: usize,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { target: None, positive: None, steps: STEPS };
        while let Some(arg) = args.next() {
            let value = args.next().ok_or_else(|| format!("{arg} needs a value"))?;
            match arg.as_str() {
                "--target" => options.target = Some(value),
                "--positive" => options.positive = Some(value),
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

fn report(table: &Table, model: &Model, confusion: &Confusion) -> String {
    let [negative, positive] = &table.classes;
    let mut text = format!(
        "logistic regression: {} ({positive} or {negative}), {} rows, {FOLDS}-fold cross-validation\n\n",
        table.target,
        table.rows.len(),
    );
    let mut percent = |name: &str, part: f64, about: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<12} {:>6.2} %   {about}", 100.0 * part);
    };
    percent("accuracy", confusion.accuracy(), "of all rows predicted right");
    percent("sensitivity", confusion.sensitivity(), &format!("of {positive} found"));
    percent("specificity", confusion.specificity(), &format!("of {negative} left alone"));

    let heads = [positive, negative].map(|class| format!("predicted {class}"));
    let _ = writeln!(text, "\n{:<28} {:>24} {:>24}", "", heads[0], heads[1]);
    for (class, [found, missed]) in [(positive, confusion.of_positive()), (negative, confusion.of_negative())] {
        let _ = writeln!(text, "{:<28} {found:>24} {missed:>24}", format!("actually {class}"));
    }

    text += &format!("\n{:<28} {:>12}\n", "column (standardised)", "coefficient");
    for (name, weight) in table.columns.iter().zip(&model.weights) {
        text += &format!("{name:<28} {weight:>12.6}\n");
    }
    text += &format!("{:<28} {:>12.6}\n", "(intercept)", model.intercept);
    text
}

fn json(table: &Table, model: &Model, confusion: &Confusion) -> String {
    let numbers = |numbers: &[f64]| numbers.iter().map(|n| format!("{n:.12e}")).collect::<Vec<_>>().join(",");
    let names = |names: &[String]| names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(",");
    format!(
        "{{\"target\":{},\"classes\":[{}],\"columns\":[{}],\"mean\":[{}],\"deviation\":[{}],\"weights\":[{}],\
         \"intercept\":{:.12e},\"cross_validation\":{{\"folds\":{FOLDS},\"accuracy\":{:.6},\"sensitivity\":{:.6},\
         \"specificity\":{:.6}}}}}\n",
        quoted(&table.target),
        names(&table.classes),
        names(&table.columns),
        numbers(&model.mean),
        numbers(&model.deviation),
        numbers(&model.weights),
        model.intercept,
        confusion.accuracy(),
        confusion.sensitivity(),
        confusion.specificity(),
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
