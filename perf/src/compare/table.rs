//! A Markdown table whose columns line up in the source text too, for it is read in terminals.

/// Rows under a head; the first column is text, all others are numbers.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn with_head(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|cell| (*cell).to_owned()).collect()] }
    }

    /// Adds a row, which has as many cells as the head.
    pub fn push(&mut self, row: Vec<String>) {
        assert_eq!(row.len(), self.rows[0].len(), "a row has a cell for each column");
        self.rows.push(row.iter().map(|cell| cell.replace('|', "\\|")).collect());
    }

    pub fn render(&self) -> String {
        let widths: Vec<usize> = (0..self.rows[0].len())
            .map(|column| self.rows.iter().map(|row| row[column].chars().count()).max())
            .map(|width| width.unwrap_or(0).max(3))
            .collect();
        let mut text = String::new();
        for (index, row) in self.rows.iter().enumerate() {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let padding = " ".repeat(width - cell.chars().count());
                text += &match column {
                    0 => format!("| {cell}{padding} |"),
                    _ => format!(" {padding}{cell} |"),
                };
            }
            text.push('\n');
            if index == 0 {
                for (column, width) in widths.iter().enumerate() {
                    text += &match column {
                        0 => format!("|:{} |", "-".repeat(*width)),
                        _ => format!(" {}:|", "-".repeat(*width)),
                    };
                }
                text.push('\n');
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::with_head(&["server", "a/s"]);
        table.push(vec!["x|y".to_owned(), "12345".to_owned()]);
        table.push(vec!["µ".to_owned(), "—".to_owned()]);
        let expected = "\
| server |   a/s |
|:------ | -----:|
| x\\|y   | 12345 |
| µ      |     — |
";
        assert_eq!(table.render(), expected);
    }
}
