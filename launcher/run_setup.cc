#include "launcher/run_setup.h"

#include <unistd.h>

#include <filesystem>

#include "common/error.h"
#include "common/strings.h"
#include "configs/load.h"
#include "data/dataset.h"
#include "launcher/child.h"

namespace contrail::launcher {

void ApplyRanksOption(const ParsedArgs& args, Config& config) {
  if (!args.Has("--ranks")) return;
  config.launcher.ranks = args.Int("--ranks", 1, -1'000'000'000, 1'000'000'000);
  config.origin["launcher.ranks"] = "--ranks";
}

void CheckInputs(const Config& config) {
  const auto origin = [&config](const char* key) {
    const auto found = config.origin.find(key);
    return found == config.origin.end() ? std::string(key) : found->second + ": " + key;
  };
  constexpr size_t kMostLookedAt = 1000;  // the ranks look at all of them, each at a part
  size_t missing = 0, all = 0;
  std::string first;
  for (const std::string& pattern : config.data.train) {
    if (config.synthetic()) break;
    const std::vector<std::string> paths = ExpandBraces(pattern);
    const size_t stride = paths.size() / kMostLookedAt + 1;
    for (size_t i = 0; i < paths.size(); i += stride) {
      if (paths[i].find_first_of("*?[") != std::string::npos &&
          access(paths[i].c_str(), F_OK) != 0) {
        all += data::ShardPaths({paths[i]}).size();  // throws where none matches
        continue;
      }
      ++all;
      if (access(paths[i].c_str(), R_OK) == 0) continue;
      if (missing++ == 0) first = paths[i] + ": " + ErrnoText(errno);
    }
  }
  if (missing > 0) {
    const std::string count = missing > 1 ? " (" + std::to_string(missing) + " of " +
                                                std::to_string(all) + " shards cannot be read)"
                                          : "";
    throw UserError("E-DATA-MISSING", origin("data.train"), first + count,
                    "relative paths start at the config file; `contrail data pack` makes shards");
  }
  const std::string& zero_shot = config.eval.zero_shot;
  if (!zero_shot.empty() && access(zero_shot.c_str(), R_OK) != 0) {
    throw UserError("E-DATA-MISSING", origin("eval.zero_shot"), zero_shot + ": " + ErrnoText(errno),
                    "name a packed data set, or leave the key out");
  }
  const std::string& init = config.model.init;
  if (init != "random" && access(init.c_str(), R_OK) != 0) {
    throw UserError("E-CKPT-MISSING", origin("model.init"), init + ": " + ErrnoText(errno),
                    "name a committed step or a run, or use \"random\"");
  }
}

std::string FindMpirun(const Config& config) {
  std::string path = FindProgram(config.launcher.mpirun);
  if (path.empty()) {
    throw UserError("E-MPIRUN-MISSING", "launcher.mpirun",
                    "'" + config.launcher.mpirun + "' is not in PATH",
                    "install Open MPI (openmpi-bin), load its module, or set its path");
  }
  return path;
}

std::string AbsolutePath(const std::string& path) {
  std::string out = std::filesystem::absolute(path).lexically_normal();
  while (out.size() > 1 && out.back() == '/') out.pop_back();
  return out;
}

}  // namespace contrail::launcher
