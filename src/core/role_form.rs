//! The role form of appendix A: whom it gives what, and whether a command gives exactly that. One form, one role, the same
//! for each grantee: what a command gives beyond it was signed by nobody.

use std::collections::{BTreeMap, BTreeSet};

/// The boxes of the form (申请权限).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// □ 查询权限
    Query,
    /// □ 修改权限
    Modify,
    /// □ 删除权限
    Delete,
    /// □ 系统管理权限
    Administer,
}

impl Right {
    pub const ALL: [Right; 4] = [Right::Query, Right::Modify, Right::Delete, Right::Administer];

    pub fn name(self) -> &'static str {
        match self {
            Right::Query => "query",
            Right::Modify => "modify",
            Right::Delete => "delete",
            Right::Administer => "administer",
        }
    }

    pub fn from_name(name: &str) -> Option<Right> {
        Right::ALL.into_iter().find(|right| right.name() == name)
    }

    /// The box under which a privilege falls; what is not plain work with data is administration.
    pub fn of_privilege(privilege: &str) -> Right {
        match privilege.to_ascii_uppercase().as_str() {
            "SELECT" => Right::Query,
            "INSERT" | "UPDATE" => Right::Modify,
            "DELETE" | "TRUNCATE" => Right::Delete,
            _ => Right::Administer,
        }
    }
}

/// What a command gives to one role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// A role's name, or `public`.
    pub grantee: String,
    /// The membership it gives.
    pub role: Option<String>,
    /// The boxes that its privileges, options and attributes fall under.
    pub rights: BTreeSet<Right>,
}

/// What the form says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleForm {
    /// Each gets the same.
    pub grantees: BTreeSet<String>,
    pub role: Option<String>,
    pub rights: BTreeSet<Right>,
}

impl RoleForm {
    /// The form that says what these commands give, if one form can: one role at most, and the same for each grantee.
    pub fn of(granted: &[Granted]) -> Option<RoleForm> {
        let mut of_each: BTreeMap<&str, (BTreeSet<&str>, BTreeSet<Right>)> = BTreeMap::new();
        for one in granted {
            let (roles, rights) = of_each.entry(&one.grantee).or_default();
            roles.extend(one.role.as_deref());
            rights.extend(&one.rights);
        }
        let (roles, rights) = of_each.values().next()?.clone();
        let alike = of_each.values().all(|other| *other == (roles.clone(), rights.clone()));
        let grantees = of_each.keys().map(|grantee| (*grantee).to_owned()).collect();
        let role = roles.first().map(|role| (*role).to_owned());
        (alike && roles.len() < 2).then_some(RoleForm { grantees, role, rights })
    }

    /// Where a command gives something else, as a sentence; None: it gives what was signed.
    pub fn disagreement(&self, granted: &Granted) -> Option<String> {
        if !self.grantees.contains(&granted.grantee) {
            let named: Vec<&str> = self.grantees.iter().map(String::as_str).collect();
            return Some(format!("The form is for {}, the command grants to {}.", named.join(", "), granted.grantee));
        }
        if let Some(role) = &granted.role
            && self.role.as_ref() != Some(role)
        {
            let named = self.role.as_deref().unwrap_or("no role");
            return Some(format!("The form names {named}, the command grants the role {role}."));
        }
        let unsigned: Vec<&str> = granted.rights.difference(&self.rights).map(|right| right.name()).collect();
        if unsigned.is_empty() {
            return None;
        }
        Some(format!("The command grants what falls under {}; the form's rights do not say so.", unsigned.join(", ")))
    }
}

/// How much of a right is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// To use it, and to pass it on where that is granted too.
    Whole,
    /// Only to pass it on.
    Option,
}

/// What a grant gives that its grantee does not have without an end. `held`: whether they have the right, and then whether
/// they may pass it on; `term`: whether a term stands for it, and then whether only for passing it on.
pub fn added(held: Option<bool>, term: Option<bool>, with_option: bool) -> Option<Extent> {
    let endless = match (held, term) {
        (None, _) | (Some(_), Some(false)) => None,
        (Some(_), Some(true)) => Some(false),
        (Some(may_pass_on), None) => Some(may_pass_on),
    };
    match endless {
        None => Some(Extent::Whole),
        Some(false) if with_option => Some(Extent::Option),
        Some(_) => None,
    }
}
