//! How well a model does on rows that it has not seen.

use crate::model::Model;
use crate::table::Row;

/// How often which class was predicted.
#[derive(Default)]
pub struct Confusion {
    /// By what a row is, then by what it was predicted to be; false for the negative class.
    counts: [[usize; 2]; 2],
}

/// Predicts each row once, by a model of the other folds. Row i is in fold i mod `folds`.
pub fn cross_validate(rows: &[Row], folds: usize, steps: usize) -> Result<Confusion, String> {
    if rows.len() < 2 * folds {
        return Err(format!("{} rows are too few", rows.len()));
    }
    let mut confusion = Confusion::default();
    for fold in 0..folds {
        let numbered = rows.iter().enumerate();
        let (test, training): (Vec<_>, Vec<_>) = numbered.partition(|(number, _)| number % folds == fold);
        let training: Vec<&Row> = training.into_iter().map(|(_, row)| row).collect();
        let model = Model::fit(&training, steps);
        for (_, row) in test {
            confusion.counts[usize::from(row.positive)][usize::from(model.is_positive(row))] += 1;
        }
    }
    Ok(confusion)
}

impl Confusion {
    /// How many positive rows were predicted positive, negative.
    pub fn of_positive(&self) -> [usize; 2] {
        [self.counts[1][1], self.counts[1][0]]
    }

    /// How many negative rows were predicted positive, negative.
    pub fn of_negative(&self) -> [usize; 2] {
        [self.counts[0][1], self.counts[0][0]]
    }

    pub fn accuracy(&self) -> f64 {
        share(self.counts[0][0] + self.counts[1][1], self.counts.iter().flatten().sum())
    }

    /// How much of the positive class is found.
    pub fn sensitivity(&self) -> f64 {
        share(self.counts[1][1], self.counts[1].iter().sum())
    }

    /// How much of the negative class is left alone.
    pub fn specificity(&self) -> f64 {
        share(self.counts[0][0], self.counts[0].iter().sum())
    }
}

fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}
