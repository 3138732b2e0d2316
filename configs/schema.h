#pragma once
// The one table of configuration keys.

#include <string>
#include <variant>
#include <vector>

#include "configs/config.h"

namespace contrail {

struct KeySpec {
  enum class Type { kBool, kInt, kFloat, kString, kStringList };
  std::string key;      // "train.lr"; "phase.lr" for [[phase]] tables
  Type type;
  std::string range;    // shown to people: ">= 1", "(0, 1)", "clip | siglip"
  std::string help;     // one sentence
  bool trains = true;   // part of the training fingerprint
};

const std::vector<KeySpec>& KeyTable();

std::string KeyTableMarkdown();   // docs/config.md's table
std::string KeyTableText();       // `contrail help config`

}  // namespace contrail
