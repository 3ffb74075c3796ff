//! What the tests ask of a browser, whichever it is.

use std::time::Duration;

use serde_json::Value;

use crate::support::lab::{PATIENCE, wait_for};

/// A browser with one page.
pub(crate) trait Browser {
    /// What a JavaScript expression is in the page, or what its promise resolves to where `waits`.
    fn value(&mut self, expression: &str, waits: bool) -> Value;

    /// What a JavaScript expression is in the page.
    fn evaluate(&mut self, expression: &str) -> Value {
        self.value(expression, false)
    }

    /// What the promise that a JavaScript expression is in the page resolves to.
    fn resolve(&mut self, expression: &str) -> Value {
        self.value(expression, true)
    }

    /// The text of the first element that `selector` finds, once there is one that has some.
    fn text(&mut self, selector: &str) -> String {
        let expression = format!("document.querySelector({selector:?})?.textContent ?? ''");
        wait_for(&format!("{selector} in the page"), PATIENCE, || {
            let text = self.evaluate(&expression);
            text.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
        })
    }

    /// Waits until a JavaScript expression is true in the page.
    fn wait(&mut self, what: &str, expression: &str) {
        self.wait_within(what, expression, PATIENCE);
    }

    /// The same with another patience.
    fn wait_within(&mut self, what: &str, expression: &str, patience: Duration) {
        wait_for(what, patience, || {
            self.evaluate(&format!("Boolean({expression})")).as_bool()?.then_some(())
        });
    }

    /// Types a group into the form of the gateway's page, and Enter.
    fn watch(&mut self, group: &str) {
        self.evaluate(&format!("document.querySelector('#target').value = {group:?}"));
        self.evaluate("document.querySelector('#watch-form').requestSubmit()");
    }
}
