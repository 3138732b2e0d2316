#pragma once
// The one command table. `contrail --help`, `contrail help CMD`, argument checking, shell
// completions and man pages all come from it; contrail-worker parses with the same table.

#include <map>
#include <string>
#include <vector>

namespace contrail {

struct OptionSpec {
  std::string name;   // "--ranks"
  std::string value;  // "N"; "" is a flag
  std::string help;
  bool repeatable = false;
};

struct CommandSpec {
  std::string name;                     // "train", "checkpoint list", "eval zero-shot"
  std::string summary;                  // one line
  std::vector<std::string> positional;  // "CONFIG.toml", "[PATH]" optional, "PATH..." one or more
  std::vector<OptionSpec> options;
  std::string details;  // paragraphs for `contrail help CMD`
  std::vector<std::string> examples;
  bool needs_worker = false;  // handed to contrail-worker, git-style
};

// Commands of `contrail`.
const std::vector<CommandSpec>& CommandTable();
// Commands contrail-worker understands: the ones handed over, plus its own `train`.
const std::vector<CommandSpec>& WorkerCommandTable();

struct ParsedArgs {
  const CommandSpec* command = nullptr;
  std::vector<std::string> positional;
  std::map<std::string, std::vector<std::string>> options;  // "--ranks" -> {"4"}

  bool Has(const std::string& option) const { return options.count(option) > 0; }
  // The last value given, or `fallback`.
  std::string Value(const std::string& option, const std::string& fallback = "") const;
  std::vector<std::string> Values(const std::string& option) const;
  // Throws UserError E-CLI-VALUE unless the value is a whole number in [low, high].
  long Int(const std::string& option, long fallback, long low, long high) const;
};

// `args` without the program name. Options may stand anywhere; "--set a=b" and "--set=a=b" are the
// same. Throws UserError: E-CLI-COMMAND (unknown, with the nearest), E-CLI-OPTION, E-CLI-VALUE,
// E-CLI-ARGS (too few or too many).
ParsedArgs ParseArgs(const std::vector<CommandSpec>& table, const std::vector<std::string>& args);

std::string HelpOverview(const std::string& program, const std::vector<CommandSpec>& table);
std::string HelpCommand(const std::string& program, const CommandSpec& command);
std::string BashCompletion(const std::string& program, const std::vector<CommandSpec>& table);
std::string ManPage(const std::string& program, const std::vector<CommandSpec>& table);

}  // namespace contrail
