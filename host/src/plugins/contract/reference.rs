//! The reference of the contract, `docs/policies/wit-reference.md`, made from the WIT itself: every world, interface, type
//! and function with what its comment says.

use std::fmt::Write as _;

use wit_parser::{Docs, Function, InterfaceId, Resolve, Type, TypeDef, TypeDefKind, TypeId, WorldItem};

use super::tests::top;

const FILE: &str = "docs/policies/wit-reference.md";

#[test]
fn the_reference_is_up_to_date() {
    let made = reference();
    let path = top().join(FILE);
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == made,
        "{FILE} is not what wit/ says: run the test with UPDATE_REFERENCE=1 and commit it"
    );
}

fn reference() -> String {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(top().join("wit")).unwrap();
    let package = &resolve.packages[package];
    let mut page = format!(
        "# The contract, item by item\n\nMade from `wit/`, package `{}`; a test keeps it so. [policies.md](../policies.md) says how \
         policies are written, built and run.\n",
        package.name
    );
    paragraph(&mut page, &package.docs);
    page.push_str("\n## Worlds\n\nOne for each slot.\n\n| world | imports | exports |\n|---|---|---|\n");
    for (name, world) in &package.worlds {
        let world = &resolve.worlds[*world];
        let names = |items: &mut dyn Iterator<Item = &WorldItem>| -> String {
            let names: Vec<String> = items
                .filter_map(|item| match item {
                    WorldItem::Interface { id, .. } => Some(interface_name(&resolve, *id)),
                    _ => None,
                })
                .map(|name| format!("[`{name}`](#{name})"))
                .collect();
            names.join(", ")
        };
        let (imports, exports) = (names(&mut world.imports.values()), names(&mut world.exports.values()));
        let _ = writeln!(page, "| `{name}` | {imports} | {exports} |");
    }
    for (name, id) in &package.interfaces {
        interface(&mut page, &resolve, name, *id);
    }
    page
}

fn interface_name(resolve: &Resolve, id: InterfaceId) -> String {
    resolve.interfaces[id].name.clone().unwrap_or_default()
}

fn interface(page: &mut String, resolve: &Resolve, name: &str, id: InterfaceId) {
    let interface = &resolve.interfaces[id];
    let _ = write!(page, "\n## {name}\n");
    paragraph(page, &interface.docs);
    for function in interface.functions.values() {
        let _ = write!(
            page,
            "\n### {}\n\n    {}\n",
            function.name,
            signature(resolve, function)
        );
        paragraph(page, &function.docs);
    }
    for (name, id) in &interface.types {
        typed(page, resolve, name, *id);
    }
}

fn signature(resolve: &Resolve, function: &Function) -> String {
    let parameters: Vec<String> = function
        .params
        .iter()
        .map(|parameter| format!("{}: {}", parameter.name, text(resolve, &parameter.ty)))
        .collect();
    let result = function
        .result
        .map_or(String::new(), |result| format!(" -> {}", text(resolve, &result)));
    format!("{}: func({}){result}", function.name, parameters.join(", "))
}

fn typed(page: &mut String, resolve: &Resolve, name: &str, id: TypeId) {
    let TypeDef { kind, docs, .. } = &resolve.types[id];
    let _ = write!(page, "\n### {} {name}\n", kind.as_str());
    paragraph(page, docs);
    page.push('\n');
    match kind {
        TypeDefKind::Record(record) => {
            page.push_str("| member | type | meaning |\n|---|---|---|\n");
            for field in &record.fields {
                let kind = text(resolve, &field.ty);
                let _ = writeln!(page, "| `{}` | `{kind}` | {} |", field.name, line(&field.docs));
            }
        }
        TypeDefKind::Enum(choices) => {
            page.push_str("| case | meaning |\n|---|---|\n");
            for case in &choices.cases {
                let _ = writeln!(page, "| `{}` | {} |", case.name, line(&case.docs));
            }
        }
        TypeDefKind::Variant(variant) => {
            page.push_str("| case | with | meaning |\n|---|---|---|\n");
            for case in &variant.cases {
                let with = case
                    .ty
                    .map_or(String::new(), |kind| format!("`{}`", text(resolve, &kind)));
                let _ = writeln!(page, "| `{}` | {with} | {} |", case.name, line(&case.docs));
            }
        }
        other => panic!("{name}: teach the reference about {}", other.as_str()),
    }
}

/// A type as WIT writes it.
fn text(resolve: &Resolve, kind: &Type) -> String {
    let id = match kind {
        Type::Bool => return "bool".to_owned(),
        Type::U8 => return "u8".to_owned(),
        Type::U16 => return "u16".to_owned(),
        Type::U32 => return "u32".to_owned(),
        Type::U64 => return "u64".to_owned(),
        Type::F64 => return "f64".to_owned(),
        Type::String => return "string".to_owned(),
        Type::Id(id) => *id,
        other => panic!("teach the reference about {other:?}"),
    };
    let definition = &resolve.types[id];
    if let Some(name) = &definition.name {
        return name.clone();
    }
    let inner = |kind: &Option<Type>| kind.map_or("_".to_owned(), |kind| text(resolve, &kind));
    match &definition.kind {
        TypeDefKind::List(element) => format!("list<{}>", text(resolve, element)),
        TypeDefKind::Option(value) => format!("option<{}>", text(resolve, value)),
        TypeDefKind::Result(result) => format!("result<{}, {}>", inner(&result.ok), inner(&result.err)),
        other => panic!("teach the reference about {}", other.as_str()),
    }
}

fn paragraph(page: &mut String, docs: &Docs) {
    if let Some(text) = &docs.contents {
        let _ = write!(page, "\n{}\n", text.trim());
    }
}

fn line(docs: &Docs) -> String {
    let text = docs.contents.as_deref().unwrap_or_default();
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}
