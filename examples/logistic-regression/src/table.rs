//! A table of numbers with a column that says which of two classes a row is of.

pub struct Table {
    /// Names of the columns that the class is predicted from.
    pub columns: Vec<String>,
    /// Name of the column that holds the class.
    pub target: String,
    /// The negative class, the positive class.
    pub classes: [String; 2],
    pub rows: Vec<Row>,
}

pub struct Row {
    pub values: Vec<f64>,
    pub positive: bool,
}

impl Table {
    /// Reads comma-separated text with a header row. `target` names the column with the class, else it is the last;
    /// `positive` the class to be found, else it is the one that comes last in the alphabet.
    pub fn parse(text: &str, target: Option<&str>, positive: Option<&str>) -> Result<Self, String> {
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let header = lines.next().ok_or("the data is empty")?;
        let mut columns: Vec<String> = header.split(',').map(|name| name.trim().to_owned()).collect();
        let position = match target {
            None => columns.len() - 1,
            Some(name) => {
                columns.iter().position(|column| column == name).ok_or(format!("there is no column {name}"))?
            }
        };
        let target = columns.remove(position);
        let lines: Vec<(Vec<f64>, String)> = lines
            .enumerate()
            .map(|(number, line)| parse_line(line, position, columns.len(), number + 2))
            .collect::<Result<_, _>>()?;
        let classes = classes(lines.iter().map(|(_, class)| class), positive)?;
        let rows = lines.into_iter().map(|(values, class)| Row { values, positive: class == classes[1] }).collect();
        Ok(Self { columns, target, classes, rows })
    }
}

/// The numbers of a line, and its class.
fn parse_line(line: &str, target: usize, width: usize, number: usize) -> Result<(Vec<f64>, String), String> {
    let mut fields: Vec<&str> = line.split(',').map(str::trim).collect();
    if fields.len() != width + 1 {
        return Err(format!("line {number}: {} fields instead of {}", fields.len(), width + 1));
    }
    let class = fields.remove(target).to_owned();
    let parse = |field: &&str| field.parse().map_err(|_| format!("line {number}: {field:?} is no number"));
    Ok((fields.iter().map(parse).collect::<Result<_, _>>()?, class))
}

fn classes<'a>(all: impl Iterator<Item = &'a String>, positive: Option<&str>) -> Result<[String; 2], String> {
    let distinct: std::collections::BTreeSet<&String> = all.collect();
    let count = distinct.len();
    let mut classes: [String; 2] = distinct
        .into_iter()
        .cloned()
        .collect::<Vec<_>>()
        .try_into()
        .map_err(|_| format!("there are {count} classes instead of two"))?;
    match positive {
        None => {}
        Some(name) if name == classes[1] => {}
        Some(name) if name == classes[0] => classes.swap(0, 1),
        Some(name) => return Err(format!("there is no class {name}")),
    }
    Ok(classes)
}
