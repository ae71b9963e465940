//! The operation whose approval covers what this backend runs right now. It lives in the backend's memory only, never
//! in a setting or a table that somebody could write, and ends with the run however that ends.

use crate::backend::backend_local;
use crate::core::gate;
use crate::core::tier::Tier;
use crate::export::form::Export;
use crate::image::Run;
use crate::raw;
use crate::watch::named_rule::Closed;
use pgrx::pg_sys;
use std::cell::RefCell;
use std::rc::Rc;

/// What stands behind the running statements.
pub struct Cover {
    pub op_no: String,
    /// Which statements it covers.
    pub reach: gate::Cover,
    /// It was filed with a role form where another form is demanded too: above normal it gives rights and does nothing else.
    pub rights_only: bool,
    /// Who executes.
    pub person: String,
    /// The run, if what it changes must be restorable.
    pub images: Option<Run>,
    /// What it may take out, if it was filed as an export.
    pub export: Option<Rc<Export>>,
    /// The functions that it was seen to reach, ascending; see `watch::reached`.
    pub functions: Rc<[u32]>,
    /// Rules whose deeds it must not do: their signatures are missing, or their maintenance window is shut.
    pub closed: Vec<Closed>,
}

backend_local! {
    static COVER: RefCell<Option<Rc<Cover>>> = const { RefCell::new(None) };
}

/// Ends the cover when dropped, by a panic (an SQL error on its way through) as well. With it go the plans and expressions
/// that this backend keeps: a procedural language sets an expression up once for the whole transaction, and the functions
/// in it, which are decided at that moment, would go on after the cover that they were allowed under.
#[must_use = "the cover ends when the guard is dropped"]
pub struct CoverGuard(());

impl Drop for CoverGuard {
    fn drop(&mut self) {
        COVER.with_borrow_mut(|cover| *cover = None);
        // Safe: neither looks anything up nor raises; a plan that runs now runs on.
        unsafe { raw::ResetPlanCache() }
    }
}

impl Cover {
    /// What it covers of a deed that `gives` rights, or does something else.
    pub fn over(&self, gives: bool) -> gate::Cover {
        let tier = if self.rights_only && !gives { Tier::Normal } else { self.reach.tier };
        gate::Cover { tier, ..self.reach }
    }
}

/// Starts the cover of an operation. None if one stands already: covers do not nest.
pub fn begin(beginning: Cover) -> Option<CoverGuard> {
    COVER.with_borrow_mut(|cover| {
        if cover.is_some() {
            return None;
        }
        *cover = Some(Rc::new(beginning));
        Some(CoverGuard(()))
    })
}

/// What this backend has made ready before the cover was found by other names, or was not asked whether the operation
/// reaches it: plans and expressions are made anew, and so are the bodies of PL/pgSQL, which keep the types that their names
/// meant when they were first compiled.
pub fn make_everything_anew() {
    // Safe: a function without arguments or result; what runs now keeps the body it has. The library is the server's own.
    unsafe {
        let (library, name) = (c"$libdir/plpgsql", c"plpgsql_HashTableInit");
        let empty = pg_sys::load_external_function(library.as_ptr(), name.as_ptr(), true, std::ptr::null_mut());
        let empty: unsafe extern "C-unwind" fn() = std::mem::transmute(empty);
        empty();
        raw::ResetPlanCache();
    }
}

/// Whether a cover stands.
pub fn stands() -> bool {
    COVER.with_borrow(Option::is_some)
}

/// A cover that comes and goes with the calls of one statement of an armed session; see `armed`.
pub fn lay(cover: Option<Rc<Cover>>) {
    COVER.with_borrow_mut(|standing| *standing = cover);
}

/// The standing cover.
pub fn current() -> Option<Rc<Cover>> {
    COVER.with_borrow(Clone::clone)
}
