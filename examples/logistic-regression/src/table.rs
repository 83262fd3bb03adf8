//! A table of numbers with a column of answers.

pub struct Table {
    /// Names of the columns that answers are predicted from.
    pub columns: Vec<String>,
    /// Name of the column of answers.
    pub target: String,
    pub rows: Vec<Row>,
}

pub struct Row {
    pub values: Vec<f64>,
    /// 0 or 1.
    pub answer: f64,
}

impl Table {
    /// Reads comma-separated text with a header row; `target` names the column of answers, else it is the last.
    pub fn parse(text: &str, target: Option<&str>) -> Result<Self, String> {
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let header = lines.next().ok_or("the data is empty")?;
        let mut columns: Vec<String> = header.split(',').map(|name| name.trim().to_owned()).collect();
        let position = match target {
            None => columns.len() - 1,
            Some(name) => columns.iter().position(|column| column == name).ok_or(format!("there is no column {name}"))?,
        };
        let target = columns.remove(position);
        let width = columns.len();
        let rows = lines.enumerate().map(|(number, line)| Row::parse(line, position, width, number + 2));
        Ok(Self { columns, target, rows: rows.collect::<Result<_, _>>()? })
    }

    /// Rows for training, and every `every`-th row for testing.
    pub fn split(&self, every: usize) -> (Vec<&Row>, Vec<&Row>) {
        let (mut training, mut test) = (Vec::new(), Vec::new());
        for (number, row) in self.rows.iter().enumerate() {
            if number % every == every - 1 { test.push(row) } else { training.push(row) }
        }
        (training, test)
    }
}

impl Row {
    fn parse(line: &str, target: usize, width: usize, number: usize) -> Result<Self, String> {
        let mut values = Vec::with_capacity(width + 1);
        for field in line.split(',') {
            let value = field.trim().parse().map_err(|_| format!("line {number}: {field:?} is no number"))?;
            values.push(value);
        }
        if values.len() != width + 1 {
            return Err(format!("line {number}: {} fields instead of {}", values.len(), width + 1));
        }
        let answer = values.remove(target);
        if answer != 0.0 && answer != 1.0 {
            return Err(format!("line {number}: the answer is neither 0 nor 1"));
        }
        Ok(Self { values, answer })
    }
}
