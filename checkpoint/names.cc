// Names of files, directories and HDF5 objects.
#include <charconv>
#include <cstdio>

#include "checkpoint/format.h"

namespace contrail::ckpt {
namespace {

bool TakeNumber(std::string_view* text, uint64_t* value) {
  if (text->empty() || text->front() < '0' || text->front() > '9') return false;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), *value);
  if (error != std::errc()) return false;
  text->remove_prefix(static_cast<size_t>(end - text->data()));
  return true;
}

bool TakeWord(std::string_view* text, std::string_view word) {
  if (!text->starts_with(word)) return false;
  text->remove_prefix(word.size());
  return true;
}

bool TakeStep(std::string_view* text, uint64_t* step) {
  return TakeWord(text, "step_") && TakeNumber(text, step);
}

}  // namespace

std::string StepName(uint64_t step) {
  char name[40];
  std::snprintf(name, sizeof name, "step_%08llu", static_cast<unsigned long long>(step));
  return name;
}

std::optional<uint64_t> ParseStepName(std::string_view name) {
  std::string_view rest = name;
  uint64_t step = 0;
  // Only the one spelling, so that two directories are never the same step.
  if (!TakeStep(&rest, &step) || !rest.empty() || StepName(step) != name) return std::nullopt;
  return step;
}

std::string TemporaryName(const Temporary& temporary) {
  std::string name = StepName(temporary.step) + ".tmp-" + std::to_string(temporary.attempt);
  if (!temporary.owner.empty()) name += "-" + temporary.owner;
  if (temporary.retry > 0) name += "." + std::to_string(temporary.retry);
  return name;
}

std::optional<Temporary> ParseTemporaryName(std::string_view name) {
  Temporary found;
  if (!TakeStep(&name, &found.step) || !TakeWord(&name, ".tmp-") ||
      !TakeNumber(&name, &found.attempt))
    return std::nullopt;
  if (TakeWord(&name, "-")) {
    found.owner = name.substr(0, name.find('.'));
    if (found.owner.empty()) return std::nullopt;
    name.remove_prefix(found.owner.size());
  }
  if (TakeWord(&name, ".") && !TakeNumber(&name, &found.retry)) return std::nullopt;
  if (!name.empty()) return std::nullopt;
  return found;
}

std::string SupersededName(uint64_t step, uint64_t k) {
  return StepName(step) + ".superseded-" + std::to_string(k);
}

std::optional<Superseded> ParseSupersededName(std::string_view name) {
  Superseded found;
  if (!TakeStep(&name, &found.step) || !TakeWord(&name, ".superseded-") ||
      !TakeNumber(&name, &found.k) || !name.empty())
    return std::nullopt;
  return found;
}

std::string ShardName(int node) {
  char name[32];
  std::snprintf(name, sizeof name, "shard_%05d.h5", node);
  return name;
}

std::string RankGroupName(int rank) {
  char name[32];
  std::snprintf(name, sizeof name, "rank_%05d", rank);
  return name;
}

std::string DatasetPath(int rank, int kind) {
  return "/" + RankGroupName(rank) + "/" + kKindNames[kind];
}

}  // namespace contrail::ckpt
