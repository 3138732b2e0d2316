#include "worker/agree.h"

#include <optional>

#include "worker/foreign_error.h"

namespace contrail::worker {
namespace {

std::string_view WithoutId(std::string_view line, std::string_view id) {
  const std::string prefix = std::string(id) + ": ";
  if (line.starts_with(prefix)) line.remove_prefix(prefix.size());
  return line;
}

std::string Pack(const Error& error) {
  return std::to_string(static_cast<int>(error.kind())) + '\n' + error.id() + '\n' + error.what();
}

}  // namespace

AgreedError::AgreedError(ErrorKind kind, const std::string& id, const std::string& line,
                         bool speaks)
    : Error(kind, id, "", WithoutId(line, id)), speaks_(speaks) {}

AgreedError::AgreedError(const Error& error, bool speaks)
    : AgreedError(error.kind(), error.id(), error.what(), speaks) {}

void Together(Comm& comm, const std::function<void()>& work) {
  std::string mine;
  try {
    work();
  } catch (const std::exception& error) {
    mine = Pack(AsError(error));
  }
  const std::vector<std::string> all = comm.AllGatherText(mine);
  for (int rank = 0; rank < comm.size(); ++rank) {
    if (all[rank].empty()) continue;
    const size_t kind_end = all[rank].find('\n');
    const size_t id_end = all[rank].find('\n', kind_end + 1);
    throw AgreedError(static_cast<ErrorKind>(std::stoi(all[rank].substr(0, kind_end))),
                      all[rank].substr(kind_end + 1, id_end - kind_end - 1),
                      all[rank].substr(id_end + 1), rank == comm.rank());
  }
}

}  // namespace contrail::worker
