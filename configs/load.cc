#include "configs/load.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include <toml++/toml.h>

#include "common/error.h"
#include "common/escape.h"
#include "common/hash.h"
#include "common/strings.h"
#include "configs/schema.h"

namespace contrail {
namespace {

namespace fs = std::filesystem;

// One value on its way into the config: where it was written and which key it is for.
struct Given {
  std::string where;   // "a.toml:12" or "--set"
  std::string origin;  // what ToToml shows
  const KeySpec* spec;
};

std::string Line(const std::string& file, const toml::node& node) {
  return file + ":" + std::to_string(node.source().begin.line);
}

std::vector<std::string> AllKeys() {
  std::vector<std::string> keys;
  for (const KeySpec& spec : KeyTable()) keys.push_back(spec.key);
  return keys;
}

// [slurm] is for the jobs that `contrail submit` will write; until then nothing would read it, and
// a key that does nothing is refused like one that is misspelt.
bool IsForSubmit(const std::string& key) { return key == "slurm" || key.rfind("slurm.", 0) == 0; }

// The nearest key: by whole path, or by the last word where it stands in another table.
[[noreturn]] void UnknownKey(const std::string& where, const std::string& key) {
  if (IsForSubmit(key)) {
    throw UserError("E-CONFIG-KEY", where,
                    "'" + key + "' is for `contrail submit`, which this version does not have",
                    "leave it out, and give sbatch its own options: --partition, --account, --qos, "
                    "--time, --nodes");
  }
  const std::string last = key.substr(key.rfind('.') + 1);
  std::string fix;
  for (const KeySpec& spec : KeyTable()) {
    if (fix.empty() && spec.key.substr(spec.key.rfind('.') + 1) == last) {
      fix = "'" + last + "' belongs to [" + spec.key.substr(0, spec.key.rfind('.')) + "]";
    }
  }
  if (fix.empty()) fix = DidYouMean(key, AllKeys());
  if (fix.empty()) {
    const size_t dot = key.rfind('.');
    const std::string table = dot == std::string::npos ? "" : key.substr(0, dot);
    std::vector<std::string> in_table;
    for (const KeySpec& spec : KeyTable()) {
      if (spec.key.rfind(table + ".", 0) == 0) in_table.push_back(spec.key.substr(dot + 1));
    }
    fix = in_table.empty() ? "`contrail help config` lists every key"
                           : "[" + table + "] has: " + Join(in_table, ", ");
  }
  throw UserError("E-CONFIG-KEY", where, "unknown key '" + key + "'", fix);
}

Error TypeError(const Given& given, const std::string& got) {
  return UserError("E-CONFIG-TYPE", given.where,
                   "'" + given.spec->key + "' is " +
                       (given.spec->TypeName() == "int" ? "an " : "a ") + given.spec->TypeName() +
                       ", not " + got,
                   "see `contrail help config`");
}

void CheckNumber(const Given& given, double value) {
  const KeySpec& spec = *given.spec;
  const bool low = spec.above_min ? !(value > spec.min) : !(value >= spec.min);
  if (std::isnan(value) || std::isinf(value) || low || value > spec.max) {
    throw UserError("E-CONFIG-RANGE", given.where,
                    "'" + spec.key + "' is " + ExactDouble(value) + ", which is out of range",
                    "it must be " + (spec.RangeText().empty() ? "finite" : spec.RangeText()));
  }
}

void CheckChoice(const Given& given, const std::string& value) {
  const auto& choices = given.spec->choices;
  if (choices.empty()) return;
  for (const std::string& choice : choices) {
    if (choice == value) return;
  }
  const std::string near = DidYouMean(value, choices);
  throw UserError("E-CONFIG-CHOICE", given.where,
                  "'" + given.spec->key + "' cannot be \"" + value + "\"",
                  near.empty() ? "it is one of " + given.spec->RangeText() : near);
}

std::string KindOf(const toml::node& node) {
  std::ostringstream text;
  if (node.is_table()) return "a table";
  if (node.is_array()) return "a list";
  if (node.is_string()) return "the string \"" + **node.as_string() + "\"";
  if (node.is_integer()) return "the integer " + std::to_string(**node.as_integer());
  if (node.is_floating_point()) return "the float " + ExactDouble(**node.as_floating_point());
  if (node.is_boolean()) return **node.as_boolean() ? "the boolean true" : "the boolean false";
  return "a date or time";
}

void Assign(const Given& given, const toml::node& node, Field field) {
  if (auto* out = std::get_if<int64_t*>(&field)) {
    // 5e6 is a number people write for a count: a float without a fraction is an integer.
    int64_t value = 0;
    if (const auto* integer = node.as_integer()) {
      value = **integer;
    } else if (const auto* number = node.as_floating_point();
               number && **number == std::floor(**number) && std::abs(**number) < 9e15) {
      value = static_cast<int64_t>(**number);
    } else if (given.spec->key == "train.micro_batch_size" && node.is_string() &&
               **node.as_string() == "auto") {
      value = 0;
    } else {
      throw TypeError(given, KindOf(node));
    }
    CheckNumber(given, static_cast<double>(value));
    **out = value;
  } else if (auto* real = std::get_if<double*>(&field)) {
    const auto value = node.value<double>();
    if (!value || node.is_boolean()) throw TypeError(given, KindOf(node));
    CheckNumber(given, *value);
    **real = *value;
  } else if (auto* text = std::get_if<std::string*>(&field)) {
    const auto* value = node.as_string();
    if (!value) throw TypeError(given, KindOf(node));
    CheckChoice(given, **value);
    **text = **value;
  } else {
    auto& list = **std::get_if<std::vector<std::string>*>(&field);
    std::vector<std::string> items;
    if (const auto* one = node.as_string()) {
      items.push_back(**one);
    } else if (const auto* array = node.as_array()) {
      for (const toml::node& item : *array) {
        const auto* element = item.as_string();
        if (!element) throw TypeError(given, "a list holding " + KindOf(item));
        items.push_back(**element);
      }
    } else {
      throw TypeError(given, KindOf(node));
    }
    for (const std::string& item : items) CheckChoice(given, item);
    list = std::move(items);
  }
}

// The parser takes text for granted. One that was saved in another encoding says so here.
void CheckText(const std::string& text, const std::string& path) {
  size_t number = 1;
  for (const std::string& line : Split(text, '\n')) {
    if (!IsUtf8(line) || line.find('\0') != std::string::npos) {
      throw UserError("E-CONFIG-TOML", path + ":" + std::to_string(number),
                      "holds bytes that are no UTF-8 text", "save the file as UTF-8");
    }
    ++number;
  }
}

toml::table ParseFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::error_code not_there;
  if (!in || fs::is_directory(path, not_there)) {
    throw UserError("E-CONFIG-FILE", path, "cannot be read: " + ErrnoText(errno ? errno : EISDIR),
                    "give the path of a TOML file, for example configs/presets/quickstart.toml");
  }
  // Whole, first: the parser goes back in its source, and a pipe has no way back.
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  CheckText(text, path);
  try {
    return toml::parse(text, path);
  } catch (const toml::parse_error& error) {
    throw UserError("E-CONFIG-TOML",
                    path + ":" + std::to_string(error.source().begin.line) + ":" +
                        std::to_string(error.source().begin.column),
                    std::string("not valid TOML: ") + std::string(error.description()));
  }
}

// A resolved config carries origins as end-of-line comments: "lr = 0.1  # --set".
std::map<std::string, std::string> OriginsInComments(const std::string& path) {
  std::map<std::string, std::string> origins;
  std::ifstream in(path);
  std::string table;
  for (std::string line; std::getline(in, line);) {
    if (line.rfind("[", 0) == 0 && line.rfind("[[", 0) != 0) {
      table = line.substr(1, line.find(']') - 1);
    }
    const size_t mark = line.rfind("  # ");
    const size_t equals = line.find(" = ");
    if (mark != std::string::npos && equals != std::string::npos && equals < mark) {
      origins[table + "." + line.substr(0, equals)] = line.substr(mark + 4);
    }
  }
  return origins;
}

void ReadPhases(const toml::node& node, const std::string& file, Config& config) {
  const auto* array = node.as_array();
  if (!array || !array->is_array_of_tables()) {
    throw UserError("E-CONFIG-TYPE", Line(file, node), "'phase' is a list of tables",
                    "write each as [[phase]]");
  }
  for (const toml::node& element : *array) {
    PhaseConfig phase;
    for (const auto& [name, value] : *element.as_table()) {
      const std::string key = "phase." + std::string(name.str());
      const KeySpec* spec = FindKey(key);
      if (!spec) UnknownKey(Line(file, value), key);
      const std::string where = Line(file, value);
      Assign({where, where, spec}, value, spec->of_phase(phase));
    }
    if ((phase.epochs > 0) == (phase.steps > 0)) {
      throw UserError("E-CONFIG-LENGTH", Line(file, element), "a [[phase]] needs epochs or steps",
                      "give exactly one of the two");
    }
    config.phase.push_back(phase);
  }
}

void ReadTables(const toml::table& root, const std::string& file, bool resolved, Config& config) {
  for (const auto& [table_name, table_node] : root) {
    const std::string table(table_name.str());
    // Earlier versions took the table, and wrote it into the config of every run.
    if (resolved && IsForSubmit(table)) continue;
    if (table == "phase") {
      ReadPhases(table_node, file, config);
      continue;
    }
    const auto* section = table_node.as_table();
    if (!section) UnknownKey(Line(file, table_node), table);
    for (const auto& [name, value] : *section) {
      const std::string key = table + "." + std::string(name.str());
      const KeySpec* spec = FindKey(key);
      if (!spec || spec->IsPhase()) UnknownKey(Line(file, value), key);
      const std::string where = Line(file, value);
      Assign({where, where, spec}, value, spec->of_config(config));
      config.origin[key] = where;
    }
  }
}

void ApplyOverride(const std::string& text, Config& config) {
  const auto is_control = [](unsigned char c) { return (c < 0x20 && c != '\t') || c == 0x7f; };
  if (!IsUtf8(text) || std::any_of(text.begin(), text.end(), is_control)) {
    throw UserError("E-CONFIG-SET", "--set " + text,
                    "holds control characters or bytes that are no UTF-8");
  }
  const size_t equals = text.find('=');
  const std::string key(Trim(text.substr(0, equals)));
  if (equals == std::string::npos || key.empty()) {
    throw UserError("E-CONFIG-SET", "--set " + text, "is not key.path=value",
                    "for example --set train.lr=3e-4");
  }
  const KeySpec* spec = FindKey(key);
  if (!spec) UnknownKey("--set", key);
  if (spec->IsPhase()) {
    throw UserError("E-CONFIG-SET", "--set " + text, "[[phase]] tables cannot be set from outside",
                    "edit the config file");
  }
  const std::string value(Trim(text.substr(equals + 1)));
  const bool wants_text = spec->TypeName() == "string" || spec->TypeName() == "list of strings";
  toml::table parsed;
  const auto quote = [](std::string_view bare) {
    std::string out = "v = \"";
    for (char c : bare) {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
    return out + "\"";
  };
  // A bare word is a string; a text that is meant to be one is never read as a number.
  const bool literal =
      !value.empty() && (value.front() == '"' || value.front() == '[' || value.front() == '\'');
  try {
    parsed = toml::parse(wants_text && !literal ? quote(value) : "v = " + value);
  } catch (const toml::parse_error&) {
    parsed = toml::parse(quote(value));  // which any text without control characters is
  }
  Assign({"--set " + text, "--set", spec}, *parsed.get("v"), spec->of_config(config));
  config.origin[key] = "--set";
}

void MakeAbsolute(std::string& path, const fs::path& base) {
  if (!path.empty() && !fs::path(path).is_absolute()) {
    path = fs::absolute(base / path).lexically_normal();
  }
}

// Paths in a file are relative to that file, paths after --set and in a pipe, which is nowhere, to
// the current directory.
void ResolvePaths(Config& config) {
  const fs::path file_dir = fs::is_regular_file(config.file)
                                ? fs::absolute(config.file).parent_path()
                                : fs::current_path();
  const auto base = [&](const char* key) {
    const auto found = config.origin.find(key);
    return found != config.origin.end() && found->second == "--set" ? fs::current_path() : file_dir;
  };
  if (!config.synthetic()) {
    for (std::string& pattern : config.data.train) MakeAbsolute(pattern, base("data.train"));
  }
  MakeAbsolute(config.data.index_dir, base("data.index_dir"));
  MakeAbsolute(config.data.tokenizer, base("data.tokenizer"));
  MakeAbsolute(config.eval.zero_shot, base("eval.zero_shot"));
  if (config.model.init != "random") MakeAbsolute(config.model.init, base("model.init"));
  if (config.run.name.empty()) config.run.name = fs::path(config.file).stem();
}

// The resolved config is TOML: paths that came from elsewhere must be text, too.
void CheckStrings(Config& config) {
  for (const KeySpec& spec : KeyTable()) {
    if (spec.IsPhase()) continue;
    const Field field = spec.of_config(config);
    std::vector<std::string> texts;
    if (const auto* one = std::get_if<std::string*>(&field)) texts = {**one};
    if (const auto* list = std::get_if<std::vector<std::string>*>(&field)) texts = **list;
    for (const std::string& text : texts) {
      if (IsUtf8(text)) continue;
      throw UserError("E-CONFIG-TYPE", config.file,
                      "'" + spec.key + "' is '" + text + "', which is no UTF-8 text",
                      "rename the file or folder");
    }
  }
}

void CheckWhole(const Config& config) {
  if (config.data.train.empty()) {
    throw UserError("E-CONFIG-MISSING", config.file, "'data.train' is missing",
                    "name the tar shards: [data] train = [\"pairs-{000..009}.tar\"]");
  }
  const auto where = [&](const char* key) {
    const auto found = config.origin.find(key);
    return found == config.origin.end() ? config.file : found->second;
  };
  if (config.synthetic() && !config.eval.zero_shot.empty()) {
    throw UserError("E-DATA-SYNTHETIC", where("eval.zero_shot"),
                    "a model trained on synthetic pairs has learned nothing to evaluate",
                    "leave eval.zero_shot empty, or name real shards in data.train");
  }
  const bool length = config.train.epochs > 0 || config.train.steps > 0;
  if (config.train.epochs > 0 && config.train.steps > 0) {
    throw UserError("E-CONFIG-LENGTH", where("train.steps"),
                    "both 'train.epochs' and 'train.steps' are set", "give exactly one");
  }
  if (!length && config.phase.empty()) {
    throw UserError("E-CONFIG-LENGTH", config.file, "neither 'train.epochs' nor 'train.steps'",
                    "say how long to train");
  }
  if (length && !config.phase.empty()) {
    throw UserError("E-CONFIG-LENGTH",
                    where(config.train.epochs > 0 ? "train.epochs" : "train.steps"),
                    "'train' gives a length and there are [[phase]] tables too",
                    "lengths belong to the phases then");
  }
}

// A resolved config names every key that its program knew: a run goes on as it did before a key
// came.
void KeepOldWays(Config& config) {
  for (const KeySpec& spec : KeyTable()) {
    if (spec.before.empty() || config.origin.contains(spec.key)) continue;
    const toml::table parsed = toml::parse("v = " + spec.before);
    Assign({spec.key, "older version", &spec}, *parsed.get("v"), spec.of_config(config));
    config.origin[spec.key] = "older version";
  }
}

Config Load(const std::string& path, const std::vector<std::string>& overrides, bool resolved) {
  Config config;
  config.file = path;
  ReadTables(ParseFile(path), path, resolved, config);
  if (resolved) {
    KeepOldWays(config);
    for (const auto& [key, origin] : OriginsInComments(path)) config.origin[key] = origin;
  }
  for (const std::string& text : overrides) ApplyOverride(text, config);
  ResolvePaths(config);
  CheckStrings(config);
  CheckWhole(config);
  return config;
}

}  // namespace

Config LoadConfig(const std::string& path, const std::vector<std::string>& overrides) {
  return Load(path, overrides, /*resolved=*/false);
}

Config LoadResolved(const std::string& run_dir, const std::vector<std::string>& overrides) {
  const std::string path = run_dir + "/config.toml";
  std::error_code not_there;
  if (!fs::exists(path, not_there)) {
    throw UserError("E-RUN-MISSING", run_dir, "is not a run directory: it has no config.toml",
                    "give the directory that `contrail train` made");
  }
  return Load(path, overrides, /*resolved=*/true);
}

std::string ToToml(const Config& config) {
  Config copy = config;  // the table hands out mutable fields
  std::string out;
  std::string table;
  for (const KeySpec& spec : KeyTable()) {
    if (spec.IsPhase()) continue;
    const size_t dot = spec.key.find('.');
    if (spec.key.substr(0, dot) != table) {
      table = spec.key.substr(0, dot);
      out += (out.empty() ? "[" : "\n[") + table + "]\n";
    }
    const auto origin = copy.origin.find(spec.key);
    out += spec.key.substr(dot + 1) + " = " + FieldToToml(spec.of_config(copy)) + "  # " +
           (origin == copy.origin.end() ? "default" : Escape(origin->second)) + "\n";
  }
  for (PhaseConfig& phase : copy.phase) {
    out += "\n[[phase]]\n";
    for (const KeySpec& spec : KeyTable()) {
      if (!spec.IsPhase()) continue;
      out += spec.key.substr(6) + " = " + FieldToToml(spec.of_phase(phase)) + "\n";
    }
  }
  // A phase that leaves a length at 0 must read back: only the length that is set is written.
  std::string kept;
  for (const std::string& line : Split(out, '\n')) {
    if (line != "epochs = 0.0" && line != "steps = 0") kept += line + "\n";
  }
  kept.pop_back();
  return kept;
}

std::string TrainingFingerprint(const Config& config) {
  Config copy = config;
  std::string text;
  for (const KeySpec& spec : KeyTable()) {
    if (!spec.trains || spec.IsPhase()) continue;
    text += spec.key + "=" + FieldToToml(spec.of_config(copy)) + "\n";
  }
  for (PhaseConfig& phase : copy.phase) {
    for (const KeySpec& spec : KeyTable()) {
      if (spec.IsPhase()) text += spec.key + "=" + FieldToToml(spec.of_phase(phase)) + "\n";
    }
  }
  return Hex64(Fnv1a(text));
}

}  // namespace contrail
