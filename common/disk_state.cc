#include <algorithm>
#include <functional>

#include "common/recording_file_system.h"

namespace contrail {
namespace {

using Kind = DiskOperation::Kind;

void Put(std::string* text, const std::string& part) {
  *text += std::to_string(part.size());
  *text += ':';
  *text += part;
}

void Describe(const DiskState& state, uint64_t number, std::string* text) {
  const DiskState::Node& node = state.nodes.at(number);
  if (!node.is_dir) {
    Put(text, node.data);
    return;
  }
  *text += '(';
  for (const auto& [name, child] : node.entries) {
    Put(text, name);
    Describe(state, child, text);
  }
  *text += ')';
}

void Erase(DiskState* state, uint64_t dir, const std::string& name, uint64_t node) {
  auto& entries = state->nodes[dir].entries;
  const auto entry = entries.find(name);
  if (entry != entries.end() && entry->second == node) entries.erase(entry);
}

// A node comes into being with the first operation on it, whether or not its name survives.
void Apply(DiskState* state, const DiskOperation& operation, const TornWrite* torn) {
  DiskState::Node& node = state->nodes[operation.node];
  switch (operation.kind) {
    case Kind::kMakeDir:
    case Kind::kCreate:
      node.is_dir = operation.kind == Kind::kMakeDir;
      state->nodes[operation.dir].is_dir = true;
      state->nodes[operation.dir].entries[operation.name] = operation.node;
      break;
    case Kind::kTruncate:
      node.data.clear();
      break;
    case Kind::kWrite: {
      const uint64_t size = operation.data.size();
      const uint64_t arrived = torn == nullptr ? size : std::min(torn->keep, size);
      const uint64_t length =
          operation.offset + (torn != nullptr && torn->zero_rest ? size : arrived);
      if (node.data.size() < length) node.data.resize(length, '\0');
      node.data.replace(operation.offset, arrived, operation.data, 0, arrived);
      break;
    }
    case Kind::kRename:
      Erase(state, operation.dir, operation.name, operation.node);
      state->nodes[operation.to_dir].is_dir = true;
      state->nodes[operation.to_dir].entries[operation.to_name] = operation.node;
      break;
    case Kind::kRemoveFile:
    case Kind::kRemoveDir:
      Erase(state, operation.dir, operation.name, operation.node);
      break;
    case Kind::kSync:
    case Kind::kSyncDir:
      break;
  }
}

}  // namespace

uint64_t DiskState::Fingerprint() const {
  std::string text;
  Describe(*this, 1, &text);
  return std::hash<std::string>()(text);
}

std::vector<size_t> PendingOperations(const std::vector<DiskOperation>& log, size_t prefix) {
  std::vector<size_t> pending;
  for (size_t i = 0; i < prefix; ++i) {
    const DiskOperation& operation = log[i];
    if (!operation.IsData() && !operation.IsName()) continue;
    bool safe = false, to_safe = operation.kind != Kind::kRename;
    for (size_t j = i + 1; j < prefix; ++j) {
      if (operation.IsData()) {
        safe |= log[j].kind == Kind::kSync && log[j].node == operation.node;
      } else if (log[j].kind == Kind::kSyncDir) {
        safe |= log[j].node == operation.dir;
        to_safe |= log[j].node == operation.to_dir;
      }
    }
    if (!safe || (operation.IsName() && !to_safe)) pending.push_back(i);
  }
  return pending;
}

DiskState CrashState(const DiskState& base, const std::vector<DiskOperation>& log, size_t prefix,
                     const std::set<size_t>& dropped, const TornWrite& torn) {
  DiskState state = base;
  for (size_t i = 0; i < prefix; ++i)
    if (dropped.count(i) == 0) Apply(&state, log[i], i == torn.operation ? &torn : nullptr);
  return state;
}

}  // namespace contrail
