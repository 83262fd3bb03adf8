//! Logistic regression by gradient descent on standardised columns.

use crate::table::Row;

const RATE: f64 = 0.5;
/// Keeps weights finite where the classes can be separated.
const RIDGE: f64 = 0.001;

pub struct Model {
    pub mean: Vec<f64>,
    pub deviation: Vec<f64>,
    pub weights: Vec<f64>,
    pub intercept: f64,
}

impl Model {
    pub fn fit(rows: &[&Row], steps: usize) -> Self {
        let (mean, deviation) = moments(rows);
        let mut model = Self { weights: vec![0.0; mean.len()], intercept: 0.0, mean, deviation };
        let table: Vec<Vec<f64>> = rows.iter().map(|row| model.standardised(&row.values)).collect();
        for _ in 0..steps {
            model.step(&table, rows);
        }
        model
    }

    /// Whether a row is more likely of the positive class.
    pub fn is_positive(&self, row: &Row) -> bool {
        self.logit(&self.standardised(&row.values)) > 0.0
    }

    fn step(&mut self, table: &[Vec<f64>], rows: &[&Row]) {
        let mut slope = vec![0.0; self.weights.len()];
        let mut intercept_slope = 0.0;
        for (values, row) in table.iter().zip(rows) {
            let error = 1.0 / (1.0 + (-self.logit(values)).exp()) - f64::from(u8::from(row.positive));
            intercept_slope += error;
            for (slope, value) in slope.iter_mut().zip(values) {
                *slope += error * value;
            }
        }
        let count = rows.len() as f64;
        self.intercept -= RATE * intercept_slope / count;
        for (weight, slope) in self.weights.iter_mut().zip(&slope) {
            *weight -= RATE * (slope / count + RIDGE * *weight);
        }
    }

    fn logit(&self, values: &[f64]) -> f64 {
        self.weights.iter().zip(values).fold(self.intercept, |sum, (weight, value)| sum + weight * value)
    }

    fn standardised(&self, values: &[f64]) -> Vec<f64> {
        let columns = values.iter().zip(&self.mean).zip(&self.deviation);
        columns.map(|((value, mean), deviation)| (value - mean) / deviation).collect()
    }
}

/// Mean and standard deviation of each column; a column that never changes has deviation 1.
fn moments(rows: &[&Row]) -> (Vec<f64>, Vec<f64>) {
    let width = rows.first().map_or(0, |row| row.values.len());
    let count = rows.len() as f64;
    let mean: Vec<f64> =
        (0..width).map(|column| rows.iter().map(|row| row.values[column]).sum::<f64>() / count).collect();
    let deviation = (0..width).map(|column| {
        let squares = rows.iter().map(|row| (row.values[column] - mean[column]).powi(2)).sum::<f64>();
        let deviation = (squares / count).sqrt();
        if deviation > 0.0 {
            deviation
        } else {
            1.0
        }
    });
    let deviation = deviation.collect();
    (mean, deviation)
}
