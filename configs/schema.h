#pragma once
// The one table of configuration keys: validation, --help, docs/config.md and completions come
// from it. Adding a key = a field in config.h + a line here.

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <variant>
#include <vector>

#include "configs/config.h"

namespace contrail {

// Where a key's value lives. A key of [[phase]] lives in a PhaseConfig.
using Field = std::variant<int64_t*, double*, std::string*, std::vector<std::string>*>;

struct KeySpec {
  std::string key;                              // "train.lr"; "phase.lr" for [[phase]] tables
  std::string help;                             // one sentence, ends without a full stop
  std::function<Field(Config&)> of_config;      // empty for phase keys
  std::function<Field(PhaseConfig&)> of_phase;  // empty for config keys
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool above_min = false;            // the minimum itself is refused
  std::vector<std::string> choices;  // allowed texts, where only some are
  bool trains = true;                // changes what is trained: part of the fingerprint
  // What runs of programs without this key did, as TOML; "" = what the default does.
  std::string before;

  std::string TypeName() const;   // "int", "float", "string", "list of strings"
  std::string RangeText() const;  // ">= 1", "> 0", "clip | siglip"; "" = anything
  bool IsPhase() const { return static_cast<bool>(of_phase); }
};

const std::vector<KeySpec>& KeyTable();
const KeySpec* FindKey(const std::string& key);

// A field's value as TOML text: 5, 0.0005, "clip", ["a", "b"].
std::string FieldToToml(const Field& field);

std::string KeyTableMarkdown();  // the table of docs/config.md
std::string KeyTableText();      // `contrail help config`

}  // namespace contrail
