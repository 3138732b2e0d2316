#include "common/strings.h"
#include "configs/load.h"

namespace contrail {

std::map<std::string, std::string> ResolvedValues(const std::string& toml) {
  std::map<std::string, std::string> values;
  std::string table;
  int phases = 0;
  for (const std::string& line : Split(toml, '\n')) {
    const size_t equals = line.find(" = ");
    if (line == "[[phase]]") {
      table = "phase " + std::to_string(++phases);
    } else if (line.starts_with('[')) {
      table = line.substr(1, line.find(']') - 1);
    } else if (equals != std::string::npos) {
      // The origin stands behind the last "  # "; a phase's lines have none.
      const size_t mark = line.rfind("  # ");
      const size_t size = mark == std::string::npos ? mark : mark - equals - 3;
      values[table + "." + line.substr(0, equals)] = line.substr(equals + 3, size);
    }
  }
  return values;
}

}  // namespace contrail
