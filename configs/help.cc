// Everything people read about commands, made from the command table.

#include <algorithm>

#include "common/strings.h"
#include "configs/cli.h"
#include "configs/schema.h"

namespace contrail {
namespace {

std::string Padded(std::string text, size_t width) {
  if (text.size() < width) text.resize(width, ' ');
  return text;
}

std::string Usage(const std::string& program, const CommandSpec& command) {
  std::string usage = program + " " + command.name;
  for (const std::string& name : command.positional) usage += " " + name;
  for (const OptionSpec& option : command.options) {
    usage += " [" + option.name + (option.value.empty() ? "" : " " + option.value) + "]" +
             (option.repeatable ? "..." : "");
  }
  return usage;
}

std::string Wrapped(const std::string& text, size_t width) {
  std::string out;
  size_t column = 0;
  for (const std::string& word : Split(text, ' ')) {
    if (column > 0 && column + 1 + word.size() > width) {
      out += '\n';
      column = 0;
    } else if (column > 0) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
  }
  return out;
}

std::string Roff(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      out += c;
    }
  }
  return out;
}

constexpr const char* kExitCodes[][2] = {
    {"0", "done"},
    {"2", "your mistake: one line says what and where, nothing was written"},
    {"3", "stopped on request, a checkpoint is written"},
    {"4", "gave up after the restart budget"},
    {"70", "a bug in Contrail"},
    {"75", "a disk, peer or device failed (one-shot commands)"},
};

}  // namespace

std::string HelpOverview(const std::string& program, const std::vector<CommandSpec>& table) {
  std::string out = "usage: " + program + " COMMAND ...\n\nTrains CLIP models on GPU clusters.\n\n";
  size_t width = 0;
  for (const CommandSpec& command : table) width = std::max(width, command.name.size());
  for (const CommandSpec& command : table) {
    out += "  " + Padded(command.name, width + 2) + command.summary + "\n";
  }
  out += "\nA first run:\n  make quickstart\n\n`" + program + " help COMMAND` says more; `" +
         program + " help config` lists every config key.\n";
  return out;
}

std::string HelpCommand(const std::string& program, const CommandSpec& command) {
  std::string out;
  if (!command.examples.empty()) {
    out += "examples:\n";
    for (const std::string& example : command.examples) out += "  " + example + "\n";
    out += "\n";
  }
  out += "usage: " + Usage(program, command) + "\n\n" + command.summary + "\n";
  if (!command.details.empty()) out += "\n" + Wrapped(command.details, 90) + "\n";
  if (!command.options.empty()) {
    out += "\noptions:\n";
    size_t width = 0;
    for (const OptionSpec& option : command.options) {
      width = std::max(width, option.name.size() + option.value.size() + 1);
    }
    for (const OptionSpec& option : command.options) {
      out += "  " + Padded(option.name + " " + option.value, width + 2) + option.help +
             (option.repeatable ? " (repeatable)" : "") + "\n";
    }
  }
  return out;
}

std::string BashCompletion(const std::string& program, const std::vector<CommandSpec>& table) {
  std::vector<std::string> first;
  std::string cases;
  for (const CommandSpec& command : table) {
    const std::vector<std::string> words = Split(command.name, ' ');
    if (std::find(first.begin(), first.end(), words[0]) == first.end()) first.push_back(words[0]);
    std::vector<std::string> options;
    for (const OptionSpec& option : command.options) options.push_back(option.name);
    cases += "    '" + command.name + "') options='" + Join(options, " ") + "' ;;\n";
  }
  std::string seconds;
  for (const std::string& word : first) {
    std::vector<std::string> children;
    for (const CommandSpec& command : table) {
      const std::vector<std::string> words = Split(command.name, ' ');
      if (words.size() > 1 && words[0] == word) children.push_back(words[1]);
    }
    if (!children.empty())
      seconds += "      " + word + ") children='" + Join(children, " ") + "' ;;\n";
  }
  std::vector<std::string> keys;
  for (const KeySpec& spec : KeyTable()) {
    if (!spec.IsPhase()) keys.push_back(spec.key + "=");
  }
  const std::string function = "_" + program;
  return function +
         "() {\n  local current=${COMP_WORDS[COMP_CWORD]} options='' children=''\n"
         "  local previous=${COMP_WORDS[COMP_CWORD-1]}\n"
         "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n    COMPREPLY=($(compgen -W '" +
         Join(first, " ") +
         "' -- \"$current\"))\n    return\n  fi\n"
         "  if [ \"$previous\" = --set ]; then\n    COMPREPLY=($(compgen -W '" +
         Join(keys, " ") +
         "' -- \"$current\"))\n    compopt -o nospace\n    return\n  fi\n"
         "  if [ \"$COMP_CWORD\" -eq 2 ]; then\n    case ${COMP_WORDS[1]} in\n" +
         seconds +
         "    esac\n    if [ -n \"$children\" ]; then\n"
         "      COMPREPLY=($(compgen -W \"$children\" -- \"$current\"))\n      return\n    fi\n  "
         "fi\n"
         "  local name=${COMP_WORDS[1]}\n  case \"$name ${COMP_WORDS[2]}\" in\n"
         "    'checkpoint '*|'data '*|'eval '*) name=\"$name ${COMP_WORDS[2]}\" ;;\n  esac\n"
         "  case $name in\n" +
         cases +
         "  esac\n  case $current in\n"
         "    -*) COMPREPLY=($(compgen -W \"$options\" -- \"$current\")) ;;\n"
         "    *) COMPREPLY=($(compgen -f -- \"$current\")) ;;\n  esac\n}\ncomplete -F " +
         function + " " + program + "\n";
}

std::string ManPage(const std::string& program, const std::vector<CommandSpec>& table) {
  std::string title = program;
  std::transform(title.begin(), title.end(), title.begin(), ::toupper);
  std::string out = ".TH " + title + " 1\n.SH NAME\n" + Roff(program) +
                    " \\- train CLIP models on GPU clusters\n.SH SYNOPSIS\n.B " + Roff(program) +
                    "\nCOMMAND ...\n.SH COMMANDS\n";
  for (const CommandSpec& command : table) {
    out += ".SS " + Roff(Usage(program, command)) + "\n" + Roff(command.summary) + ".\n";
    if (!command.details.empty()) out += Roff(command.details) + "\n";
    for (const OptionSpec& option : command.options) {
      out += ".TP\n.B " + Roff(option.name + (option.value.empty() ? "" : " " + option.value)) +
             "\n" + Roff(option.help) + "\n";
    }
  }
  out += ".SH CONFIGURATION\n";
  for (const KeySpec& spec : KeyTable()) {
    const std::string range = spec.RangeText();
    out += ".TP\n.B " + Roff(spec.key) + "\n" + Roff(spec.help) +
           (range.empty() ? "" : " (" + Roff(range) + ")") + "\n";
  }
  out += ".SH EXIT STATUS\n";
  for (const auto& [code, meaning] : kExitCodes) {
    out += ".TP\n.B " + std::string(code) + "\n" + Roff(meaning) + "\n";
  }
  return out;
}

}  // namespace contrail
