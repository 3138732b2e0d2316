#include "configs/cli.h"

#include <algorithm>
#include <charconv>

#include "common/error.h"
#include "common/strings.h"

namespace contrail {
namespace {

bool IsOption(const std::string& text) { return text.size() > 1 && text[0] == '-' && text != "--"; }

// The command whose name is the longest match of the leading words.
const CommandSpec* FindCommand(const std::vector<CommandSpec>& table,
                               const std::vector<std::string>& words, size_t& used) {
  const CommandSpec* best = nullptr;
  used = 0;
  for (const CommandSpec& spec : table) {
    const std::vector<std::string> name = Split(spec.name, ' ');
    if (name.size() > words.size() || name.size() <= used) continue;
    if (std::equal(name.begin(), name.end(), words.begin())) {
      best = &spec;
      used = name.size();
    }
  }
  return best;
}

[[noreturn]] void UnknownCommand(const std::vector<CommandSpec>& table,
                                 const std::vector<std::string>& words) {
  if (words.empty()) {
    throw UserError("E-CLI-COMMAND", "", "no command given", "`contrail --help` lists them");
  }
  std::vector<std::string> names;
  std::vector<std::string> children;  // "checkpoint" alone: its second words
  for (const CommandSpec& spec : table) {
    names.push_back(spec.name);
    const std::vector<std::string> parts = Split(spec.name, ' ');
    names.push_back(parts[0]);
    if (parts.size() > 1 && parts[0] == words[0]) children.push_back(parts[1]);
  }
  const std::string word =
      words.size() > 1 && !children.empty() ? words[0] + " " + words[1] : words[0];
  if (!children.empty()) {
    const std::string near = words.size() > 1 ? DidYouMean(word, names) : "";
    throw UserError("E-CLI-COMMAND", "",
                    words.size() > 1 ? "unknown command '" + word + "'"
                                     : "'" + words[0] + "' needs a second word",
                    near.empty() ? "one of: " + Join(children, ", ") : near);
  }
  const std::string near = DidYouMean(word, names);
  throw UserError("E-CLI-COMMAND", "", "unknown command '" + word + "'",
                  near.empty() ? "`contrail --help` lists them" : near);
}

const OptionSpec* FindOption(const CommandSpec& command, const std::string& name) {
  for (const OptionSpec& option : command.options) {
    if (option.name == name) return &option;
  }
  return nullptr;
}

[[noreturn]] void UnknownOption(const CommandSpec& command, const std::string& name) {
  std::vector<std::string> names;
  for (const OptionSpec& option : command.options) names.push_back(option.name);
  std::string fix = DidYouMean(name, names);
  if (fix.empty()) {
    fix = names.empty() ? "it takes no options" : "its options: " + Join(names, ", ");
  }
  throw UserError("E-CLI-OPTION", command.name, "unknown option '" + name + "'", fix);
}

void CheckCount(const CommandSpec& command, const std::vector<std::string>& given) {
  size_t least = 0;
  size_t most = 0;
  for (const std::string& name : command.positional) {
    const bool many = name.find("...") != std::string::npos;
    least += name[0] == '[' ? 0 : 1;
    most = many ? size_t{1} << 30 : most + 1;
  }
  if (given.size() < least) {
    throw UserError("E-CLI-ARGS", command.name, command.positional[given.size()] + " is missing",
                    "usage: contrail " + command.name + " " + Join(command.positional, " "));
  }
  if (given.size() > most) {
    throw UserError("E-CLI-ARGS", command.name, "does not take '" + given[most] + "'",
                    "usage: contrail " + command.name +
                        (command.positional.empty() ? "" : " " + Join(command.positional, " ")));
  }
}

}  // namespace

std::string ParsedArgs::Value(const std::string& option, const std::string& fallback) const {
  const auto found = options.find(option);
  return found == options.end() ? fallback : found->second.back();
}

std::vector<std::string> ParsedArgs::Values(const std::string& option) const {
  const auto found = options.find(option);
  return found == options.end() ? std::vector<std::string>{} : found->second;
}

long ParsedArgs::Int(const std::string& option, long fallback, long low, long high) const {
  if (!Has(option)) return fallback;
  const std::string text = Value(option);
  long value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size() || value < low || value > high) {
    throw UserError("E-CLI-VALUE", option,
                    "'" + text + "' is not a whole number from " + std::to_string(low) + " to " +
                        std::to_string(high));
  }
  return value;
}

ParsedArgs ParseArgs(const std::vector<CommandSpec>& table, const std::vector<std::string>& args) {
  std::vector<std::string> words;  // leading words that may name the command
  for (const std::string& arg : args) {
    if (IsOption(arg)) break;
    words.push_back(arg);
  }
  size_t used = 0;
  ParsedArgs parsed;
  parsed.command = FindCommand(table, words, used);
  if (!parsed.command) UnknownCommand(table, words);

  bool options_over = false;
  for (size_t i = used; i < args.size(); ++i) {
    const std::string& arg = args[i];
    if (options_over || !IsOption(arg)) {
      if (arg == "--" && !options_over) {
        options_over = true;
      } else {
        parsed.positional.push_back(arg);
      }
      continue;
    }
    const size_t equals = arg.find('=');
    const std::string name = arg.substr(0, equals);
    const OptionSpec* option = FindOption(*parsed.command, name);
    if (!option) UnknownOption(*parsed.command, name);
    std::vector<std::string>& values = parsed.options[name];
    if (!option->repeatable && !values.empty()) {
      throw UserError("E-CLI-OPTION", parsed.command->name, "'" + name + "' is given twice");
    }
    if (option->value.empty()) {
      if (equals != std::string::npos) {
        throw UserError("E-CLI-VALUE", parsed.command->name, "'" + name + "' takes no value");
      }
      values.emplace_back();
    } else if (equals != std::string::npos) {
      values.push_back(arg.substr(equals + 1));
    } else if (i + 1 < args.size() &&
               !(IsOption(args[i + 1]) && FindOption(*parsed.command, args[i + 1]))) {
      values.push_back(args[++i]);
    } else {
      throw UserError("E-CLI-VALUE", parsed.command->name,
                      "'" + name + "' needs a value: " + name + " " + option->value);
    }
  }
  CheckCount(*parsed.command, parsed.positional);
  return parsed;
}

}  // namespace contrail
