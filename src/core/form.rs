//! Forms as data: what a form that somebody filled in must say (manual, appendix A and B). What a value means in the
//! server (a role, a person, a time) is looked up by `operation::form`; here values are compared with their fields.

use serde_json::{Map, Value};

/// What a field takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// The name of a role as the catalog has it, unquoted.
    Role,
    /// Such a name, or a list of them.
    Roles,
    /// The name of a registered person.
    Person,
    Timestamp,
    /// A whole number, not negative.
    Count,
    Boolean,
    /// One of the choices.
    Choice,
    /// At least one of the choices.
    Choices,
}

impl Kind {
    pub fn from_name(name: &str) -> Option<Kind> {
        Some(match name {
            "text" => Kind::Text,
            "role" => Kind::Role,
            "roles" => Kind::Roles,
            "person" => Kind::Person,
            "timestamptz" => Kind::Timestamp,
            "count" => Kind::Count,
            "boolean" => Kind::Boolean,
            "choice" => Kind::Choice,
            "choices" => Kind::Choices,
            _ => return None,
        })
    }
}

/// One line of a form.
#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    pub kind: Kind,
    pub required: bool,
    pub choices: Vec<String>,
}

/// The key under which a filled-in form says which form it is.
pub const NAME: &str = "form";

/// Why a form cannot be filed, as a sentence without its full stop; None: every value is what its field takes. The first
/// field in the order of the form speaks.
pub fn mistake(fields: &[Field], given: &Map<String, Value>) -> Option<String> {
    let known = |name: &str| name == NAME || fields.iter().any(|field| field.name == name);
    if let Some(stray) = given.keys().find(|name| !known(name)) {
        let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        return Some(format!("there is no field \"{stray}\"; fields are {}", names.join(", ")));
    }
    fields.iter().find_map(|field| {
        let why = match given.get(&field.name) {
            None | Some(Value::Null) if field.required => "is missing".to_owned(),
            None | Some(Value::Null) => return None,
            Some(value) => unfit(field, value)?,
        };
        Some(format!("field \"{}\" {why}", field.name))
    })
}

/// Why a value does not fit its field; None: it does.
fn unfit(field: &Field, value: &Value) -> Option<String> {
    let chosen = |value: &Value| value.as_str().is_some_and(|value| field.choices.iter().any(|choice| choice == value));
    if field.kind == Kind::Roles
        && let Some(several) = value.as_array()
    {
        let named = |value: &Value| value.as_str().is_some_and(|name| !name.trim().is_empty());
        let fits = !several.is_empty() && several.iter().all(named);
        return if fits { None } else { Some("must be a text or a list of texts".to_owned()) };
    }
    let fits = match field.kind {
        Kind::Roles | Kind::Text | Kind::Role | Kind::Person | Kind::Timestamp => match value.as_str() {
            Some(text) if text.trim().is_empty() => return Some("is empty".to_owned()),
            text => text.is_some(),
        },
        Kind::Count => value.as_u64().is_some_and(|count| count <= i64::MAX as u64),
        Kind::Boolean => value.is_boolean(),
        Kind::Choice => chosen(value),
        Kind::Choices => value.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(chosen)),
    };
    let wanted = match field.kind {
        _ if fits => return None,
        Kind::Roles => "must be a text or a list of texts".to_owned(),
        Kind::Text | Kind::Role | Kind::Person => "must be a text".to_owned(),
        Kind::Timestamp => "must be a time".to_owned(),
        Kind::Count => "must be a whole number from 0".to_owned(),
        Kind::Boolean => "must be true or false".to_owned(),
        Kind::Choice => format!("must be one of {}", field.choices.join(", ")),
        Kind::Choices => format!("must be a list of {}", field.choices.join(", ")),
    };
    Some(wanted)
}
