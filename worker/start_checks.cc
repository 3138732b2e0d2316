#include "worker/start_checks.h"

#include <link.h>
#include <sched.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/error.h"
#include "common/file_system.h"
#include "common/hash.h"
#include "common/host_name.h"
#include "common/log.h"
#include "common/strings.h"
#include "configs/load.h"
#include "model/cuda_part.h"
#include "worker/agree.h"

namespace contrail::worker {
namespace {

std::string OriginOf(const Config& config, const std::string& key) {
  const auto found = config.origin.find(key);
  return found == config.origin.end() || found->second == "default" ? config.file : found->second;
}

// The numbers of ranks nearest to `ranks` that divide the batch: "4 or 8".
std::string NearestDivisors(int64_t batch, int ranks) {
  int64_t below = std::min<int64_t>(ranks, batch);
  while (batch % below != 0) --below;
  int64_t above = ranks;
  while (above < batch && batch % above != 0) ++above;
  if (above >= batch && batch % ranks != 0 && below == batch) return std::to_string(below);
  return above <= batch && above != below ? std::to_string(below) + " or " + std::to_string(above)
                                          : std::to_string(below);
}

// "train.lr = 0.001" for every key of the configuration.
std::string KeysOf(const Config& config) {
  std::vector<std::string> lines;
  for (const auto& [key, value] : ResolvedValues(ToToml(config))) {
    lines.push_back(key + " = " + value);
  }
  return Join(lines, "\n");
}

// "train.lr = 0.5 against train.lr = 0.001", the first three.
std::string KeysThatDiffer(const std::string& theirs, const std::string& ours) {
  const std::vector<std::string> a = Split(theirs, '\n');
  const std::vector<std::string> b = Split(ours, '\n');
  std::vector<std::string> differences;
  for (size_t i = 0; i < std::max(a.size(), b.size()); ++i) {
    const std::string left = i < a.size() ? a[i] : "nothing";
    const std::string right = i < b.size() ? b[i] : "nothing";
    if (left == right) continue;
    if (differences.size() == 3) {
      differences.push_back("...");
      break;
    }
    differences.push_back(left + " against " + right);
  }
  return Join(differences, ", ");
}

// The build id that the linker put into this program, as hex digits; "" where it put none.
std::string BuildId() {
  std::string id;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* out) {
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const ElfW(Phdr)& header = info->dlpi_phdr[i];
          if (header.p_type != PT_NOTE) continue;
          const char* at = reinterpret_cast<const char*>(info->dlpi_addr + header.p_vaddr);
          const char* const end = at + header.p_memsz;
          const size_t align = header.p_align == 8 ? 8 : 4;
          while (at + sizeof(ElfW(Nhdr)) <= end) {
            const auto* note = reinterpret_cast<const ElfW(Nhdr)*>(at);
            const char* name = at + sizeof *note;
            const char* bytes = name + (note->n_namesz + align - 1) / align * align;
            if (note->n_type == NT_GNU_BUILD_ID && std::string_view(name, 3) == "GNU") {
              for (uint32_t b = 0; b < note->n_descsz; ++b) {
                char digits[3];
                std::snprintf(digits, sizeof digits, "%02x", bytes[b] & 0xff);
                *static_cast<std::string*>(out) += digits;
              }
              return 1;
            }
            at = bytes + (note->n_descsz + align - 1) / align * align;
          }
        }
        return 1;  // the first object is the program itself
      },
      &id);
  return id;
}

// Which program this is: two builds must not train together.
std::string ProgramFingerprint() {
  const std::string id = BuildId();
  if (!id.empty()) return id;
  const std::string bytes = PosixFileSystem().ReadAll("/proc/self/exe");
  return Hex64(bytes.size() << 32 | Crc32c(0, bytes.data(), bytes.size()));
}

}  // namespace

void CheckSize(const Comm& comm, long asked) {
  if (asked == 0 || asked == comm.size()) return;
  const std::string fix =
      comm.size() == 1 ? "start it with the mpirun of the MPI that contrail-worker is linked with "
                         "(every process believes that it is alone)"
                       : "give mpirun -n and --ranks the same number";
  throw UserError(
      "E-MPI-SIZE", HostName(),
      "asked for " + std::to_string(asked) + " ranks, MPI started " + std::to_string(comm.size()),
      fix);
}

void CheckConfig(const Config& config, int ranks) {
  data::ParseCaptionKey(config.data.caption_key);
  const int64_t batch = config.train.global_batch_size;
  const std::string where = OriginOf(config, "train.global_batch_size");
  if (batch % ranks != 0) {
    throw UserError("E-RANKS", where,
                    "train.global_batch_size " + std::to_string(batch) +
                        " cannot be shared evenly by " + std::to_string(ranks) + " ranks",
                    "use " + NearestDivisors(batch, ranks) + " ranks, or another batch size");
  }
}

void CheckDataSize(uint64_t samples, const Config& config) {
  const auto batch = static_cast<uint64_t>(config.train.global_batch_size);
  if (samples >= batch) return;
  throw UserError("E-DATA-SMALL", OriginOf(config, "data.train"),
                  "the data holds " + std::to_string(samples) +
                      " samples, less than one global batch of " + std::to_string(batch),
                  "name more shards or lower train.global_batch_size");
}

void CheckCaptions(Comm& comm, const data::Dataset& dataset, const Config& config) {
  Together(comm, [&] {
    if (comm.rank() != 0) return;
    const data::LeftOut left_out = dataset.left_out();
    if (left_out.Any()) LogWarning("data: passed over in the shards: " + Describe(left_out));
    const data::MissingCaptions missing = dataset.CountMissingCaptions();
    data::CheckMissingCaptions(missing, config.data.max_empty_captions,
                               OriginOf(config, "data.train"));
    if (missing.count == 0) return;
    LogWarning("data: " + std::to_string(missing.count) + " of " + std::to_string(missing.of) +
               " samples have no caption and train as empty texts, first " + missing.first);
  });
}

void CheckSameEverywhere(Comm& comm, const Config& config, const std::string& data) {
  const std::string keys = KeysOf(config);
  const std::vector<std::pair<const char*, std::string>> sides = {
      {"config", Hex64(Fnv1a(keys))}, {"program", ProgramFingerprint()}, {"data", data}};
  std::vector<std::string> mine = {HostName()};
  for (const auto& side : sides) mine.push_back(side.second);
  const std::vector<std::string> all = comm.AllGatherText(Join(mine, "\n"));
  const std::vector<std::string> root = Split(all[0], '\n');
  for (int rank = 1; rank < comm.size(); ++rank) {
    const std::vector<std::string> other = Split(all[rank], '\n');
    for (size_t i = 0; i < sides.size(); ++i) {
      if (other[i + 1] == root[i + 1]) continue;
      const std::string what =
          i > 0 ? "(" + other[i + 1] + ") than rank 0 on " + root[0] + " (" + root[i + 1] + ")"
                : "than rank 0 on " + root[0] + ": " +
                      KeysThatDiffer(comm.BroadcastText(keys, rank), comm.BroadcastText(keys, 0));
      throw AgreedError(
          UserError("E-RANKS-DISAGREE", "rank " + std::to_string(rank) + " on " + other[0],
                    std::string("runs another ") + sides[i].first + " " + what,
                    "every node must see the same files: config, contrail-worker and shards"),
          comm.rank() == 0);
    }
  }
}

void CheckShared(Comm& comm, const monitor::RunDir& run) {
  FileSystem& fs = PosixFileSystem();
  std::string probe;
  Together(comm, [&] {
    if (comm.rank() != 0) return;
    probe = run.root + "/.shared_probe_" + std::to_string(getpid()) + "_" +
            std::to_string(static_cast<long>(SystemClock().Now() * 1e3));
    fs.WriteAtomically(probe, "seen by every rank?\n");
  });
  probe = comm.BroadcastText(probe, 0);
  const bool seen = fs.Exists(probe);
  const std::vector<std::string> all = comm.AllGatherText(seen ? "" : HostName());
  if (comm.rank() == 0) fs.RemoveFile(probe);
  for (int rank = 0; rank < comm.size(); ++rank) {
    if (all[rank].empty()) continue;
    throw AgreedError(UserError("E-RUN-NOT-SHARED", run.root,
                                "rank " + std::to_string(rank) + " on " + all[rank] +
                                    " does not see what rank 0 writes there",
                                "put the run directory on a file system that all nodes share"),
                      comm.rank() == 0);
  }
}

void WarnIfOneCore(Comm& comm) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof mask, &mask) != 0) return;
  int core = -1;
  if (CPU_COUNT(&mask) == 1) {
    core = 0;
    while (!CPU_ISSET(core, &mask)) ++core;
  }
  const std::vector<std::string> all = comm.AllGatherText(std::to_string(core));
  if (comm.local_rank() != 0 || core < 0 || sysconf(_SC_NPROCESSORS_ONLN) == 1) return;
  int sharing = 0;
  for (int rank = 0; rank < comm.size(); ++rank) {
    const bool here = comm.node_of_rank()[rank] == comm.node_of_rank()[comm.rank()];
    sharing += here && all[rank] == std::to_string(core);
  }
  if (sharing > 1) {
    LogWarning("W-ONE-CORE: " + std::to_string(sharing) + " ranks on " + HostName() +
               " are bound to core " + std::to_string(core) +
               "; start mpirun with --bind-to none or give each rank its own cores");
  }
}

void WarnIfFewCores(Comm& comm, int asked, int used) {
  const std::vector<std::string> all = comm.AllGatherText(used < asked ? "few" : "");
  if (comm.local_rank() != 0) return;
  int few = 0;
  for (int rank = 0; rank < comm.size(); ++rank) {
    few += comm.node_of_rank()[rank] == comm.node_of_rank()[comm.rank()] && !all[rank].empty();
  }
  if (few == 0) return;
  LogWarning("W-CORES: " + std::to_string(few) + " ranks on " + HostName() +
             " may use fewer cores " + "than the " + std::to_string(asked) +
             " threads they were to compute with, and use " + "what they have" +
             (used < asked ? " (" + std::to_string(used) + ")" : "") +
             "; see launcher.mpirun_args (--bind-to none) and the job's cores a task");
}

void WarnIfGpusIdle(const Comm& comm) {
  if (comm.local_rank() != 0) return;
  const model::CudaPart cuda = model::FindCuda();
  if (cuda.devices.empty()) return;
  LogWarning("W-GPUS-IDLE: " + HostName() + " has " + std::to_string(cuda.devices.size()) + " x " +
             cuda.devices.front().name + ", which this build does not train on; it goes on with " +
             "the processor's cores");
}

}  // namespace contrail::worker
