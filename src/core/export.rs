//! What the form `export` says of columns: a list of names, as people type it.

/// The columns that an operation may take out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns(Vec<String>);

impl Columns {
    /// `phone`, `student.phone` or `app.student.phone`, with commas between. None if no column is named.
    pub fn parse(text: &str) -> Option<Columns> {
        let names = text.split([',', '，', '、', ';', '；', '\n']);
        let names: Vec<String> = names.map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        (!names.is_empty()).then_some(Columns(names))
    }

    /// Whether a column of `schema.table` is listed. There is no sign for all columns: each is named. Images of changed rows
    /// have the columns of other tables: those are named with their table, or `phone` would open every old phone number.
    pub fn list(&self, relation: &str, column: &str) -> bool {
        let table = relation.split_once('.').map_or(relation, |(_, table)| table);
        self.0.iter().any(|name| match name.strip_suffix(column) {
            Some("") => !relation.starts_with("steward."),
            Some(before) => before.strip_suffix('.').is_some_and(|of| of == table || of == relation),
            None => false,
        })
    }
}
