//! Undoes the change of one row, if it still stands. Compared and written are texts in exact form, so every type works.

use super::deferred::{Argument, Statements};
use super::place::Keys;
use super::reference::Reference;
use super::text;
use crate::error::{Fault, Outcome};
use crate::own;
use pgrx::pg_sys::{self, Oid};
use std::collections::HashMap;

/// An image as it is stored.
pub struct RowImage {
    pub id: i64,
    pub relation: Oid,
    pub table_name: String,
    pub command: String,
    pub keys: usize,
    pub columns: Vec<String>,
    pub old: Option<Vec<Option<String>>>,
    pub new: Option<Vec<Option<String>>>,
}

/// A column as the table has it now.
struct Column {
    type_: Oid,
    modifier: i32,
    /// The two as SQL writes them.
    type_name: String,
    /// Computed by the table itself.
    generated: bool,
    /// The operator = of pg_catalog compares its values.
    comparable: bool,
}

/// A table as it is now.
pub struct Table {
    /// Quoted, with its schema.
    pub name: String,
    columns: HashMap<String, Column>,
    keys: Keys,
    references: Vec<Reference>,
}

/// What became of an image.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Undone {
    /// The row is as it was before.
    Whole,
    /// Something of it was changed since, which stays.
    Partly,
    /// It was inserted, and other rows refer to it now.
    Referred,
}

impl Undone {
    fn whole(whole: bool) -> Undone {
        if whole { Undone::Whole } else { Undone::Partly }
    }
}

impl Table {
    /// None if there is no such table any more.
    pub fn find(relation: Oid) -> Outcome<Option<Table>> {
        let columns = "SELECT format('%I.%I', n.nspname, c.relname), a.attname::text, a.atttypid, a.atttypmod, a.attgenerated <> '',
                (CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END)::oid::int8 < 16384 AND EXISTS (SELECT FROM pg_opclass o
                    JOIN pg_am m ON m.oid = o.opcmethod AND m.amname = 'btree' WHERE o.opcdefault AND o.opcintype
                    = (CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END)) OR t.typtype = 'e',
                format_type(a.atttypid, a.atttypmod)
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
                AND a.attnum > 0 AND NOT a.attisdropped JOIN pg_type t ON t.oid = a.atttypid WHERE c.oid = $1";
        let mut found = own::run(|client| {
            let mut table: Option<Table> = None;
            for row in own::select(client, columns, &[relation.into()])? {
                let name = row.get::<String>(1)?.unwrap_or_default();
                let table = table.get_or_insert_with(|| Table {
                    name,
                    columns: HashMap::new(),
                    keys: Keys::default(),
                    references: Vec::new(),
                });
                let column = Column {
                    type_: row.get(3)?.unwrap_or(pg_sys::InvalidOid),
                    modifier: row.get(4)?.unwrap_or(-1),
                    generated: row.get(5)? == Some(true),
                    comparable: row.get(6)? == Some(true),
                    type_name: row.get(7)?.unwrap_or_default(),
                };
                table.columns.insert(row.get::<String>(2)?.unwrap_or_default(), column);
            }
            Ok(table)
        })?;
        if let Some(table) = &mut found {
            (table.keys, table.references) = (Keys::of(relation)?, Reference::to(relation)?);
        }
        Ok(found)
    }

    /// Reads the text of a value back as what a column holds.
    pub fn cast(&self, name: &str) -> String {
        self.columns.get(name).map_or_else(String::new, |column| format!("::{}", column.type_name))
    }

    /// What ends an INSERT … SELECT of these values so that rows whose place is taken are left out.
    pub fn unless_taken(&self, value: impl Fn(&str) -> String) -> String {
        let comparable = |name: &str| self.columns.get(name).is_some_and(|column| column.comparable);
        self.keys.unless_taken(&self.name, comparable, value)
    }
}

/// A column of an image with its values, which the table still has.
struct Value<'i> {
    name: &'i str,
    column: &'i Column,
    old: Option<&'i str>,
    new: Option<&'i str>,
}

impl Value<'_> {
    fn argument(&self, value: Option<&str>) -> Argument {
        (self.column.type_, value.map(|value| text::read(value, self.column.type_, self.column.modifier)))
    }
}

impl RowImage {
    /// Call inside [`text::Exact`] and an SPI connection.
    pub fn undo(&self, table: &Table, statements: &mut Statements) -> Outcome<Undone> {
        let length = |row: &Option<Vec<Option<String>>>| row.as_ref().map_or(self.columns.len(), Vec::len);
        if length(&self.old) != self.columns.len() || length(&self.new) != self.columns.len() {
            return Err(Fault::corrupted(format!("image {} of {} does not read back", self.id, self.table_name)));
        }
        let mut values = Vec::with_capacity(self.columns.len());
        for (at, name) in self.columns.iter().enumerate() {
            // A column that is gone cannot be brought back.
            let Some(column) = table.columns.get(name) else { return Ok(Undone::Partly) };
            let old = self.old.as_ref().and_then(|row| row[at].as_deref());
            let new = self.new.as_ref().and_then(|row| row[at].as_deref());
            values.push(Value { name, column, old, new });
        }
        let mut row = Row { image: self, table, values, statements };
        match self.command.as_str() {
            "UPDATE" => row.undo_update().map(Undone::whole),
            "INSERT" => row.undo_insert(),
            "DELETE" => row.undo_delete().map(Undone::whole),
            other => Err(Fault::corrupted(format!("image {} says {other}", self.id))),
        }
    }
}

/// One image on its way back.
struct Row<'i> {
    image: &'i RowImage,
    table: &'i Table,
    values: Vec<Value<'i>>,
    statements: &'i mut Statements,
}

impl Row<'_> {
    fn undo_update(&mut self) -> Outcome<bool> {
        let changed: Vec<usize> = (0..self.values.len())
            .filter(|at| self.values[*at].old != self.values[*at].new && !self.values[*at].column.generated)
            .collect();
        let Some((place, now)) = self.find(&changed)? else { return Ok(false) };
        let still: Vec<&Value<'_>> = (changed.iter().zip(&now))
            .map(|(at, now)| (&self.values[*at], now))
            .filter(|(value, now)| value.new == now.as_deref())
            .map(|(value, _)| value)
            .collect();
        if still.is_empty() {
            return Ok(changed.is_empty());
        }
        let sets: Vec<String> =
            still.iter().enumerate().map(|(at, value)| format!("{} = ${}", quote(value.name), at + 1)).collect();
        let update =
            format!("UPDATE ONLY {} SET {} WHERE ctid = ${}", self.table.name, sets.join(", "), still.len() + 1);
        let mut arguments: Vec<Argument> = still.iter().map(|value| value.argument(value.old)).collect();
        arguments.push(place);
        let whole = still.len() == changed.len();
        Ok(self.statements.run(&update, &arguments)?.rows == 1 && whole)
    }

    fn undo_insert(&mut self) -> Outcome<Undone> {
        let all: Vec<usize> = (0..self.values.len()).collect();
        let Some((place, now)) = self.find(&all)? else { return Ok(Undone::Partly) };
        if self.values.iter().zip(&now).any(|(value, now)| value.new != now.as_deref()) {
            return Ok(Undone::Partly);
        }
        let values = &self.values;
        let value = |name: &str| values.iter().find(|value| value.name == name).map(|value| value.argument(value.new));
        for reference in &self.table.references {
            if reference.exists(place, value, self.statements)? {
                return Ok(Undone::Referred);
            }
        }
        let delete = format!("DELETE FROM ONLY {} WHERE ctid = $1", self.table.name);
        Ok(Undone::whole(self.statements.remove(&delete, &[place])?.rows == 1))
    }

    fn undo_delete(&mut self) -> Outcome<bool> {
        let stored: Vec<&Value<'_>> = self.values.iter().filter(|value| !value.column.generated).collect();
        let names: Vec<String> = stored.iter().map(|value| quote(value.name)).collect();
        let places: Vec<String> = (1..=stored.len()).map(|at| format!("${at}")).collect();
        let parameter = |name: &str| {
            // A computed column is none of the values: whether its key is taken shows when the row is written.
            let at = stored.iter().position(|value| value.name == name);
            at.map_or_else(|| "NULL".to_owned(), |at| format!("${}", at + 1))
        };
        let insert = format!(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {}{}",
            self.table.name,
            names.join(", "),
            places.join(", "),
            self.table.unless_taken(parameter)
        );
        let arguments: Vec<Argument> = stored.iter().map(|value| value.argument(value.old)).collect();
        Ok(self.statements.run(&insert, &arguments)?.rows == 1)
    }

    /// Finds and locks the row as the run left it: where it is, and what the wanted columns hold now.
    fn find(&mut self, wanted: &[usize]) -> Outcome<Option<(Argument, Vec<Option<String>>)>> {
        // Without a key any row that equals the image is the row.
        let count = if self.image.keys == 0 { self.values.len() } else { self.image.keys.min(self.values.len()) };
        let keys = &self.values[..count];
        let mut columns = vec!["ctid".to_owned()];
        columns.extend(wanted.iter().map(|at| quote(self.values[*at].name)));
        let (columns, table) = (columns.join(", "), &self.table.name);
        let find = format!("SELECT {columns} FROM ONLY {table} WHERE {} LIMIT 1 FOR UPDATE", matches(keys));
        let arguments: Vec<Argument> = keys.iter().map(|value| value.argument(value.new)).collect();
        let found = self.statements.run(&find, &arguments)?;
        let Some(place) = found.value(1) else { return Ok(None) };
        let now = (wanted.iter().zip(2..))
            // Safe: a column of this type.
            .map(|(at, column)| {
                found.value(column).map(|value| unsafe { text::written(value, self.values[*at].column.type_) })
            })
            .collect();
        Ok(Some(((pg_sys::TIDOID, Some(place)), now)))
    }
}

/// The condition that finds a row by these columns, whose values are the parameters from $1 on. What = of pg_catalog does
/// not compare is compared as text.
fn matches(keys: &[Value<'_>]) -> String {
    let (mut conditions, mut left, mut right) = (Vec::new(), Vec::new(), Vec::new());
    for (at, key) in keys.iter().enumerate() {
        let (name, parameter) = (quote(key.name), format!("${}", at + 1));
        if key.column.comparable && key.new.is_some() {
            conditions.push(format!("{name} OPERATOR(pg_catalog.=) {parameter}"));
        } else {
            left.push(name);
            right.push(parameter);
        }
    }
    if !left.is_empty() {
        let (left, right) = (left.join(", "), right.join(", "));
        conditions.push(format!("ROW({left})::pg_catalog.text OPERATOR(pg_catalog.=) ROW({right})::pg_catalog.text"));
    }
    conditions.join(" AND ")
}

fn quote(name: &str) -> String {
    pgrx::spi::quote_identifier(name)
}
