//! Which rows a role sees: scopes as data, compiled to PostgreSQL's own row-level security. A policy compares a column with
//! what a function of ours returns once for each statement, so an index on the column serves; what it returns depends on
//! the person of the current role, who is looked up in the policy, never on a setting.
//!
//! Here: scopes, attributes and temporary grants, and what they allow. Never here: which plan names what
//! (`watch::out_of_scope`).

pub mod allowed;
mod attribute;
pub mod command;
pub mod held;
pub mod hidden;
pub mod lint;
mod mapping;
mod set;
mod temporary;

use crate::audit::buffer;
use crate::cache::Policy;
use crate::core::record::{Kind, Record};
use crate::core::tier::Tier;
use crate::error::{Fault, Outcome};
use crate::raw;
use crate::{own, session};
use held::Held;
use mapping::Mapping;
use pgrx::pg_sys::{self, Oid};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CStr;
use std::rc::Rc;

/// The value that stands for all.
pub const EVERYTHING: &str = "*";

/// A row of `steward.scope`, as sessions need it.
pub struct Scope {
    pub id: i32,
    pub role: Oid,
    /// The protected table.
    pub relation: Oid,
    pub column: String,
    /// None: what the scopes in `sources` let the role see decides.
    pub attribute: Option<String>,
    pub sources: Vec<i32>,
    /// How allowed values are mapped to values of the column; None: they are values of the column.
    pub mapping: Option<Mapping>,
}

impl Scope {
    /// Whether its policies concern the current role, by PostgreSQL's own measure.
    pub fn concerns_current_role(&self) -> bool {
        // Safe: membership look-up in the role cache.
        unsafe { pg_sys::has_privs_of_role(raw::GetUserId(), self.role) }
    }
}

/// All scopes, and of each person who was asked for what that person holds.
#[derive(Default)]
pub struct Scopes {
    list: Vec<Scope>,
    held: RefCell<HashMap<String, Rc<Held>>>,
}

impl Scopes {
    pub fn get(&self, id: i32) -> Option<&Scope> {
        self.list.iter().find(|scope| scope.id == id)
    }

    /// Whether any role's rows of a protected table are limited.
    pub fn is_scoped(&self, relation: Oid) -> bool {
        self.list.iter().any(|scope| scope.relation == relation)
    }

    /// Scopes of a protected table that limit the current role.
    pub fn on(&self, relation: Oid) -> impl Iterator<Item = &Scope> {
        self.list.iter().filter(move |scope| scope.relation == relation && scope.concerns_current_role())
    }

    /// What the person of the current role holds; None: nobody stands behind it, or nobody who may do anything.
    fn held(&self, policy: &Policy) -> Outcome<Option<Rc<Held>>> {
        // Safe: plain getter.
        let person = policy.person(unsafe { raw::GetUserId() }).filter(|person| person.usable());
        let Some(person) = person else { return Ok(None) };
        if let Some(known) = self.held.borrow().get(&person.name) {
            return Ok(Some(known.clone()));
        }
        let held = Rc::new(Held::load(&person.name)?);
        self.held.borrow_mut().insert(person.name.clone(), held.clone());
        Ok(Some(held))
    }
}

const SCOPES: &CStr = c"SELECT m.id::text, m.role::oid::text, m.relation::oid::text, m.column_name::text, m.attribute,
        coalesce(m.sources::text, '[]'), m.mapping, s.via::oid::text, s.via::text
    FROM steward._scope_mapping m JOIN steward.scope s ON s.id = m.id ORDER BY m.id";

/// The scopes, for the policy.
pub fn load() -> Outcome<Scopes> {
    let list: Outcome<Vec<Scope>> = own::latest_rows(SCOPES).iter().map(|row| read(row)).collect();
    Ok(Scopes { list: list?, held: RefCell::default() })
}

fn read(row: &[Option<String>]) -> Outcome<Scope> {
    let text = |column: usize| row.get(column).and_then(Option::as_deref).ok_or_else(odd);
    let oid = |column: usize| text(column)?.parse::<u32>().map(Oid::from).map_err(|_| odd());
    let mapping = match row[6].as_deref() {
        Some(query) => Some(Mapping::new(oid(7)?, text(8)?, query)?),
        None => None,
    };
    Ok(Scope {
        id: text(0)?.parse().map_err(|_| odd())?,
        role: oid(1)?,
        relation: oid(2)?,
        column: text(3)?.to_owned(),
        attribute: row[4].clone(),
        sources: serde_json::from_str(text(5)?).map_err(|_| odd())?,
        mapping,
    })
}

/// A row that does not read back: the statement fails, and nothing is shown.
fn odd() -> Fault {
    Fault::internal("a row of the scopes does not read back")
}

/// Notes a change of what people see and tells every session.
fn changed(function: &str, subject: &str, details: serde_json::Value) -> Outcome<()> {
    let mut record = Record::new(Kind::Policy, function);
    record.tier = Some(Tier::Critical);
    record.relations = vec![subject.to_owned()];
    record.details = Some(details.to_string());
    buffer::push(record);
    own::policy_changed()
}

/// Who may look at the policies and at the ways around them.
fn require_reader(function: &str) -> Outcome<()> {
    let person = session::person();
    let may = person.is_some_and(|person| person.may("configure") || person.may("audit"));
    // Safe: reads the current role.
    if may || unsafe { pg_sys::superuser() } {
        return Ok(());
    }
    Err(Fault::refused(format!("steward.{function} is not yours to call"))
        .detail("It is for posts with the capability configure or audit.")
        .hint("SELECT * FROM steward.post;"))
}
