//! The length of functions, tests excepted.

use anyhow::Context as _;
use syn::spanned::Spanned as _;
use syn::visit::Visit;

use super::{Finding, Source};

/// Lines a function may have, signature and braces included.
const MAX_FUNCTION_LINES: usize = 70;

/// Functions of one file that are too long.
///
/// # Errors
/// The file does not parse.
pub(super) fn check(source: &Source) -> anyhow::Result<Vec<Finding>> {
    if source.is_test_file() {
        return Ok(Vec::new());
    }
    let file = syn::parse_file(&source.text).with_context(|| source.path.clone())?;
    let mut visitor = Visitor { source, findings: Vec::new() };
    visitor.visit_file(&file);
    Ok(visitor.findings)
}

struct Visitor<'a> {
    source: &'a Source,
    findings: Vec<Finding>,
}

impl Visitor<'_> {
    fn measure(&mut self, name: &syn::Ident, span: proc_macro2::Span) {
        let lines = span.end().line.saturating_sub(span.start().line) + 1;
        if lines > MAX_FUNCTION_LINES {
            self.findings.push(Finding {
                check: "function-size",
                place: format!("{}: {name}", self.source.path),
                message: format!("{lines} lines; the limit is {MAX_FUNCTION_LINES}"),
            });
        }
    }
}

impl<'ast> Visit<'ast> for Visitor<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let is_test = module.attrs.iter().any(|attribute| {
            attribute.path().is_ident("cfg")
                && attribute.parse_args::<syn::Ident>().is_ok_and(|argument| argument == "test")
        });
        if !is_test {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.measure(
            &function.sig.ident,
            function.sig.span().join(function.block.span()).unwrap_or(function.block.span()),
        );
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.measure(&function.sig.ident, function.block.span());
        syn::visit::visit_impl_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> usize {
        check(&Source { path: "crates/a/src/a.rs".to_owned(), text: text.to_owned() }).unwrap().len()
    }

    #[test]
    fn long_functions_are_found_and_long_tests_are_not() {
        let body = "let _ = 1;\n".repeat(80);
        assert_eq!(found(&format!("fn a() {{\n{body}}}")), 1);
        assert_eq!(found(&format!("struct A; impl A {{ fn a() {{\n{body}}} }}")), 1);
        assert_eq!(found(&format!("#[cfg(test)] mod tests {{ fn a() {{\n{body}}} }}")), 0);
        assert_eq!(found("fn a() {}"), 0);
    }
}
