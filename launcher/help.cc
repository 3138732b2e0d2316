#include "launcher/help.h"

#include <algorithm>

#include "common/error.h"
#include "common/strings.h"
#include "configs/cli.h"
#include "configs/schema.h"

namespace contrail::launcher {
namespace {

constexpr const char* kProgram = "contrail";

// Help of "checkpoint list", or of every command of the group "checkpoint".
std::string HelpFor(const std::string& name) {
  std::string out;
  std::vector<std::string> names;
  for (const CommandSpec& command : CommandTable()) {
    names.push_back(command.name);
    if (command.name != name && !command.name.starts_with(name + " ")) continue;
    if (!out.empty()) out += "\n";
    out += HelpCommand(kProgram, command);
  }
  if (out.empty()) {
    throw UserError("E-CLI-COMMAND", "help", "unknown command '" + name + "'",
                    DidYouMean(name, names));
  }
  return out;
}

std::string RunHelp(const ParsedArgs& args) {
  if (args.Has("--man")) return ManPage(kProgram, CommandTable());
  const std::string name = Join(args.positional, " ");
  if (name.empty()) return HelpOverview(kProgram, CommandTable());
  if (name == "config") return args.Has("--markdown") ? KeyTableMarkdown() : KeyTableText();
  return HelpFor(name);
}

}  // namespace

std::optional<std::string> Help(const std::vector<std::string>& words) {
  if (words.empty()) return HelpOverview(kProgram, CommandTable());
  if (words[0] == "--version") return CONTRAIL_VERSION "\n";
  const auto is_help = [](const std::string& word) { return word == "--help" || word == "-h"; };
  if (std::any_of(words.begin(), words.end(), is_help)) {
    std::vector<std::string> name;
    for (const std::string& word : words) {
      if (word.starts_with("-")) break;
      name.push_back(word);
    }
    // "contrail train my.toml --help": the words that name no command are its arguments.
    while (name.size() > 1) {
      const auto named = [&](const CommandSpec& command) {
        return command.name == Join(name, " ");
      };
      if (std::any_of(CommandTable().begin(), CommandTable().end(), named)) break;
      name.pop_back();
    }
    return name.empty() ? HelpOverview(kProgram, CommandTable()) : HelpFor(Join(name, " "));
  }
  if (words[0] != "help" && words[0] != "completion" && words[0] != "version") return std::nullopt;
  const ParsedArgs args = ParseArgs(CommandTable(), words);
  if (args.command->name == "version") return CONTRAIL_VERSION "\n";
  if (args.command->name == "help") return RunHelp(args);
  return BashCompletion(kProgram, CommandTable());
}

}  // namespace contrail::launcher
