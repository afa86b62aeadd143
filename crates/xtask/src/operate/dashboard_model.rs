//! The JSON that Grafana reads, of a dashboard's definition. Not responsible for checking either.

use serde_json::{Value, json};

use super::dashboards::{Definition, Kind, Panel, Query, Variable};

/// The version of the dashboard model: Grafana 10 and later read it.
const SCHEMA: u64 = 39;
/// Columns of Grafana's grid.
pub(super) const COLUMNS: u64 = 24;
/// What `$on` in a query stands for: the series of the programs that are chosen at the top.
pub(super) const CHOSEN: &str = "job=~\"$job\", instance=~\"$instance\"";

/// The whole of it.
pub(super) fn dashboard(definition: &Definition) -> Value {
    let mut panels = Vec::new();
    let (mut id, mut y) = (0, 0);
    for row in &definition.row {
        id += 1;
        panels.push(json!({
            "id": id, "type": "row", "title": row.title, "collapsed": false, "panels": [],
            "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
        }));
        y += 1;
        let (mut x, mut tallest) = (0, 0);
        for panel in &row.panel {
            if x + panel.width > COLUMNS {
                (x, y, tallest) = (0, y + tallest, 0);
            }
            id += 1;
            panels.push(panel_model(panel, id, &json!({"x": x, "y": y, "w": panel.width, "h": panel.height})));
            x += panel.width;
            tallest = tallest.max(panel.height);
        }
        y += tallest;
    }
    json!({
        "uid": definition.uid, "title": definition.title, "description": definition.description,
        "tags": ["mailtier"], "schemaVersion": SCHEMA, "version": 1, "editable": true, "graphTooltip": 1,
        "refresh": "30s", "time": {"from": "now-6h", "to": "now"}, "timezone": "browser",
        "links": [{
            "type": "dashboards", "tags": ["mailtier"], "title": "Mailtier", "asDropdown": true, "includeVars": true,
            "keepTime": true, "targetBlank": false, "icon": "external link", "tooltip": "The other dashboards", "url": "",
        }],
        "annotations": {"list": [{
            "name": "Alerts", "enable": true, "iconColor": "red", "datasource": source("prometheus", "datasource"),
            "expr": "ALERTS{alertname=~\"Mailtier.*\", alertstate=\"firing\"}", "titleFormat": "{{alertname}}", "step": "60s",
        }]},
        "templating": {"list": variables(definition)},
        "panels": panels,
    })
}

fn source(kind: &str, variable: &str) -> Value {
    json!({"type": kind, "uid": format!("${{{variable}}}")})
}

/// The data source and which programs, and what the definition has beside them.
fn variables(definition: &Definition) -> Vec<Value> {
    let choose = |name: &str, label: &str, kind: &str| json!({"name": name, "label": label, "type": "datasource", "query": kind, "refresh": 1});
    let values = |name: &str, label: &str, query: &str| {
        json!({
            "name": name, "label": label, "type": "query", "datasource": source("prometheus", "datasource"),
            "query": {"query": query, "refId": name}, "definition": query, "refresh": 2, "sort": 1, "multi": true,
            "includeAll": true, "allValue": ".*", "current": {"text": "All", "value": "$__all"},
        })
    };
    let mut list = vec![choose("datasource", "Metrics", "prometheus")];
    if let Some(series) = &definition.chosen_by {
        list.push(values("job", "Job", &format!("label_values({series}, job)")));
        list.push(values("instance", "Instance", &format!("label_values({series}{{job=~\"$job\"}}, instance)")));
    }
    for Variable { name, label, datasource, values: query } in &definition.variables {
        list.push(match (datasource, query) {
            (Some(kind), _) => choose(name, label, kind),
            (None, Some(query)) => values(name, label, query),
            (None, None) => json!({"name": name, "label": label, "type": "textbox", "query": "", "current": {"text": "", "value": ""}}),
        });
    }
    list
}

fn panel_model(panel: &Panel, id: u64, place: &Value) -> Value {
    let source = match panel.kind {
        Kind::Traces => source("tempo", "traces"),
        Kind::Logs => source("loki", "logs"),
        _ => source("prometheus", "datasource"),
    };
    let targets: Vec<Value> =
        panel.queries.iter().zip('A'..='Z').map(|(query, letter)| target(panel, query, letter, &source)).collect();
    let links: Vec<Value> = panel
        .runbook
        .iter()
        .map(|alert| {
            let url = format!("https://github.com/mailtier/mailtier/blob/main/docs/operate/runbooks/{alert}.md");
            json!({"title": format!("Runbook: {alert}"), "url": url, "targetBlank": true})
        })
        .collect();
    let mut model = json!({
        "id": id, "title": panel.title, "description": panel.description, "gridPos": place, "type": kind_name(panel.kind),
        "links": links, "options": options(panel),
    });
    if panel.kind != Kind::Text {
        set(&mut model, "datasource", source);
        set(&mut model, "targets", targets.into());
        set(&mut model, "fieldConfig", field_config(panel));
    }
    model
}

const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Stat => "stat",
        Kind::Timeseries => "timeseries",
        Kind::BarGauge => "bargauge",
        Kind::Table | Kind::Traces => "table",
        Kind::Logs => "logs",
        Kind::Text => "text",
    }
}

fn target(panel: &Panel, query: &Query, letter: char, source: &Value) -> Value {
    let letter = letter.to_string();
    match panel.kind {
        Kind::Traces => {
            json!({"refId": letter, "datasource": source, "queryType": "traceql", "query": query.expr, "limit": 20, "tableType": "spans"})
        }
        Kind::Logs => json!({"refId": letter, "datasource": source, "queryType": "range", "expr": query.expr}),
        kind => {
            let at_once = matches!(kind, Kind::Table | Kind::BarGauge | Kind::Stat);
            json!({
                "refId": letter, "datasource": source, "expr": query.expr.replace("$on", CHOSEN), "legendFormat": query.legend,
                "instant": at_once, "range": !at_once, "format": if kind == Kind::Table { "table" } else { "time_series" },
            })
        }
    }
}

fn options(panel: &Panel) -> Value {
    match panel.kind {
        Kind::Stat => json!({
            "colorMode": "value", "graphMode": "none", "justifyMode": "auto", "textMode": "auto",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
        }),
        Kind::BarGauge => json!({
            "displayMode": "basic", "orientation": "horizontal",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
        }),
        Kind::Timeseries => json!({
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true}, "tooltip": {"mode": "multi", "sort": "desc"},
        }),
        Kind::Table | Kind::Traces => json!({"showHeader": true}),
        Kind::Logs => json!({"showTime": true, "wrapLogMessage": true, "sortOrder": "Ascending"}),
        Kind::Text => json!({"mode": "markdown", "content": panel.text.as_deref().unwrap_or_default()}),
    }
}

fn field_config(panel: &Panel) -> Value {
    let steps: Vec<Value> = panel
        .thresholds
        .iter()
        .enumerate()
        .map(|(number, (value, color))| json!({"value": (number > 0).then_some(value), "color": color}))
        .collect();
    let mut defaults = json!({"unit": panel.unit, "min": 0});
    if let Some(max) = panel.max {
        set(&mut defaults, "max", max.into());
    }
    if !steps.is_empty() {
        set(&mut defaults, "thresholds", json!({"mode": "absolute", "steps": steps}));
        set(&mut defaults, "color", json!({"mode": "thresholds"}));
    }
    if panel.kind == Kind::Timeseries {
        set(&mut defaults, "color", json!({"mode": "palette-classic"}));
        set(
            &mut defaults,
            "custom",
            json!({
                "drawStyle": "line", "lineWidth": 1, "fillOpacity": if panel.stacked { 30 } else { 8 }, "showPoints": "never",
                "stacking": {"mode": if panel.stacked { "normal" } else { "none" }, "group": "A"},
                "thresholdsStyle": {"mode": if panel.thresholds.is_empty() { "off" } else { "line" }},
            }),
        );
    }
    json!({"defaults": defaults, "overrides": []})
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}
