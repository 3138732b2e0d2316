// The command table itself. Adding a command = an entry here + a function in its room.

#include "configs/cli.h"

namespace contrail {
namespace {

const OptionSpec kSet = {"--set", "key.path=value", "override a config key", true};
const OptionSpec kJson = {"--json", "", "print one JSON value on stdout and nothing else there"};
const OptionSpec kBatch = {"--batch", "N", "images encoded at once (default: 256)"};
const OptionSpec kThreads = {"--threads", "T", "compute threads (default: all cores)"};

const OptionSpec kIndexDir = {"--index-dir", "DIR",
                              "where `contrail data index --index-dir` put the indexes"};

CommandSpec EvalZeroShot() {
  return {.name = "eval zero-shot",
          .summary = "classify a data set by prompts, with one prompt and with the ensemble",
          .positional = {},
          .options = {{"--checkpoint", "CKPT",
                       "a run directory, a committed step, or a file of weights"},
                      {"--dataset", "DIR",
                       "packed data set: *.tar with .cls, classnames.txt, "
                       "zeroshot_classification_templates.txt"},
                      kJson,
                      kBatch,
                      kThreads},
          .details =
              "Text features of every class name in every template are normalised, averaged "
              "and normalised again; an image goes to the class of the largest cosine.",
          .examples = {"contrail eval zero-shot --checkpoint runs/quickstart --dataset test/"},
          .needs_worker = true};
}

CommandSpec Embed() {
  return {.name = "embed",
          .summary = "write unit-norm features of images and texts to an HDF5 file",
          .positional = {"OUT.h5"},
          .options = {{"--checkpoint", "CKPT",
                       "a run directory, a committed step, or a file of weights"},
                      {"--images", "TARS|DIR",
                       "tar shards ({000..009} and * allowed) or a folder of images"},
                      {"--texts", "FILE", "one text a line"},
                      kBatch,
                      kIndexDir,
                      kThreads},
          .details =
              "Datasets: image_features [N, D] and image_keys [N], text_features [M, D]; "
              "fp32, unit norm.",
          .examples = {"contrail embed --checkpoint runs/quickstart --texts prompts.txt out.h5"},
          .needs_worker = true};
}

CommandSpec Import() {
  return {.name = "import",
          .summary = "make a checkpoint from a file of CLIP weights",
          .positional = {"FILE", "CKPT"},
          .options = {{"--set", "key=value",
                       "model.name, model.activation or model.resolution, where the file does not "
                       "say, or to confirm it",
                       true}},
          .details =
              "FILE: OpenAI's .pt, open_clip's .pt or .safetensors, the folder or "
              "model.safetensors of a Hugging Face CLIPModel. The model is found from the shapes; "
              "the activation from the file or the config beside it. CKPT can be given to "
              "model.init, embed, eval, export and checkpoint.",
          .examples = {"contrail import ViT-B-32.pt vit-b-32",
                       "contrail import laion.safetensors b32 --set model.activation=gelu"},
          .needs_worker = true};
}

CommandSpec Export() {
  return {.name = "export",
          .summary = "write a checkpoint's weights for other programs",
          .positional = {"CKPT", "OUT"},
          .options = {{"--format", "FORMAT", "openai, open_clip or hf"}},
          .details =
              "openai: a state dict OUT.pt as OpenAI's, fp16 where theirs is. open_clip: OUT.pt or "
              "OUT.safetensors, fp32, with OUT.json, the model config. hf: a folder OUT that "
              "transformers' from_pretrained reads, tokenizer included (ViTs only).",
          .examples = {"contrail export runs/b32 --format open_clip b32.safetensors",
                       "contrail export runs/b32 --format hf b32-hf"},
          .needs_worker = true};
}

std::vector<CommandSpec> MakeTable() {
  return {
      {.name = "train",
       .summary = "train a model, supervised: restarts and resumes",
       .positional = {"CONFIG.toml"},
       .options = {{"--ranks", "N", "MPI ranks (default: launcher.ranks)"},
                   kSet,
                   {"--run", "DIR", "the run directory (default: run.dir/run.name)"}},
       .details = "Starts contrail-worker under mpirun, watches every rank, restarts from the last "
                  "committed checkpoint when one dies or hangs. Ctrl-C, SIGTERM or SIGUSR1 saves a "
                  "checkpoint and stops (exit 3). An existing run directory is never overwritten.",
       .examples = {"contrail train configs/presets/quickstart.toml --ranks 4",
                    "contrail train my.toml --set train.lr=3e-4 --run runs/lr3e-4"}},
      {.name = "resume",
       .summary = "continue a run, also with another number of ranks",
       .positional = {"RUN_DIR"},
       .options = {{"--ranks", "N", "MPI ranks (default: as before)"},
                   {"--from", "STEP", "a committed step (default: the newest)"},
                   kSet},
       .details = "The global batch and the sample order do not depend on the number of ranks.",
       .examples = {"contrail resume runs/quickstart",
                    "contrail resume runs/quickstart --ranks 2"}},
      {.name = "view",
       .summary = "see what a run is doing: terminal, one page, or JSON",
       .positional = {"RUN_DIR"},
       .options = {{"--once", "", "print one page and leave"},
                   kJson,
                   {"--series", "NAME", "with --json: one {\"step\":..,\"value\":..} a line"}},
       .details = "Without options: a live view on a terminal, one page otherwise. Works while the "
                  "job runs, after it died, and on a copy.",
       .examples = {"contrail view runs/quickstart",
                    "contrail view runs/quickstart --json --series loss"}},
      {.name = "doctor",
       .summary = "what this machine has of what a run needs, and what to do about the rest",
       .positional = {"[CONFIG.toml]"},
       .options = {{"--run", "DIR", "where the run directory will be (default: run.dir)"},
                   {"--ranks", "N", "ranks on this machine (default: launcher.ranks)"},
                   kJson},
       .details = "MPI and the libraries of contrail-worker, /dev/shm, limits, processor, kernel, "
                  "run directory: one line each, ok, warn or bad. Exit code 2 where one is bad. "
                  "Run it where the job will run: srun --pty contrail doctor.",
       .examples = {"contrail doctor", "contrail doctor my.toml --ranks 8"}},
      {.name = "checkpoint list",
       .summary = "committed steps, newest first",
       .positional = {"PATH"},
       .options = {kJson},
       .examples = {"contrail checkpoint list runs/quickstart"}},
      {.name = "checkpoint show",
       .summary = "what a committed step holds",
       .positional = {"PATH"},
       .options = {kJson, {"--tensors", "", "list every tensor"}},
       .examples = {"contrail checkpoint show runs/quickstart --tensors"}},
      {.name = "checkpoint verify",
       .summary = "read every byte and check every checksum",
       .positional = {"PATH"},
       .options = {kJson},
       .examples = {"contrail checkpoint verify runs/quickstart"}},
      {.name = "checkpoint index",
       .summary = "make index.h5 of a step of many ranks, for h5py",
       .positional = {"PATH"},
       .details = "Steps of few ranks have one from the start.",
       .examples = {"contrail checkpoint index runs/large/checkpoints/step_00001200"}},
      {.name = "checkpoint prune",
       .summary = "remove all but the newest committed steps",
       .positional = {"PATH"},
       .options = {{"--keep", "N", "steps to keep"}, {"--dry-run", "", "only say what would go"}},
       .examples = {"contrail checkpoint prune runs/quickstart --keep 1"}},
      EvalZeroShot(),
      Embed(),
      Import(),
      Export(),
      {.name = "data pack",
       .summary = "pack images and captions into WebDataset tar shards",
       .positional = {"OUT_DIR"},
       .options = {{"--images", "FILE", "IDX images (MNIST format, .gz or not)"},
                   {"--labels", "FILE", "IDX labels"},
                   {"--folder", "DIR", "a folder of images, each with a .txt of the same name"},
                   {"--caption-key", "KEY",
                    "\"json:FIELD\": captions stand in a .json beside each image"},
                   {"--csv", "FILE", "CSV or TSV with an image path and a caption column"},
                   {"--classes", "FILE", "class names, one a line, in label order"},
                   {"--templates", "FILE", "caption templates, one a line, {} is the class name"},
                   {"--name", "NAME", "shard name (default: pairs)"},
                   {"--shard-samples", "N", "samples a shard (default: 10000)"},
                   {"--seed", "N",
                    "which template each sample gets, and the order of a folder's images"},
                   {"--limit", "N", "stop after so many samples"}},
       .details = "An existing shard set is never overwritten; nothing half-written is left.",
       .examples = {"contrail data pack train/ --folder photos/",
                    "contrail data pack train/ --images train-images-idx3-ubyte.gz --labels "
                    "train-labels-idx1-ubyte.gz --classes classes.txt --templates templates.txt"}},
      {.name = "data index",
       .summary = "write the indexes of tar shards: a sidecar of each, a list of all in a folder",
       .positional = {"TAR..."},
       .options =
           {{"--index-dir", "DIR",
             "write them in there, for shards that lie where nothing can be written; name it "
             "in data.index_dir"}},
       .examples = {"contrail data index 'train/pairs-{000..009}.tar'",
                    "contrail data index --index-dir ~/indexes /datasets/laion/"}},
      {.name = "data check",
       .summary = "read everything: counts, undecodable images, caption lengths",
       .positional = {"TAR..."},
       .options = {{"--caption-key", "KEY", "where captions stand, as data.caption_key says"},
                   {"--max-empty-captions", "SHARE", "as data.max_empty_captions (default: 0.05)"},
                   kJson,
                   kIndexDir},
       .examples = {"contrail data check 'train/pairs-{000..009}.tar'"}},
      {.name = "data order",
       .summary = "sample keys in training order, one a line",
       .positional = {"CONFIG.toml"},
       .options = {{"--epoch", "E", "epoch (default: 0)"},
                   {"--from", "K", "first position (default: 0)"},
                   {"--count", "N", "how many (default: all)"},
                   kSet},
       .examples = {"contrail data order my.toml --epoch 1 --from 4096 --count 256"}},
      {.name = "data audit",
       .summary = "prove that a run took every sample once, and list the replaced",
       .positional = {"RUN_DIR"},
       .options = {kJson},
       .details = "Walks the order anew and compares it with what checkpoints and telemetry say "
                  "was trained on, up to the newest committed step. Reads the run directory alone. "
                  "Exit 2 where a sample is missing or doubled, or a record is.",
       .examples = {"contrail data audit runs/quickstart"}},
      {.name = "help",
       .summary = "about a command, or 'config' for every config key",
       .positional = {"[COMMAND...]"},
       .options = {{"--man", "", "the whole manual page (roff)"},
                   {"--markdown", "", "with 'config': the table of docs/config.md"}},
       .examples = {"contrail help train", "contrail help config"}},
      {.name = "completion bash",
       .summary = "shell completion: source <(contrail completion bash)",
       .positional = {},
       .options = {}},
      {.name = "version", .summary = "version of this build", .positional = {}, .options = {}},
  };
}

std::vector<CommandSpec> MakeWorkerTable() {
  std::vector<CommandSpec> table = {
      {.name = "train",
       .summary = "one rank of a training job; start it with mpirun",
       .positional = {"[CONFIG.toml]"},
       .options = {{"--run", "DIR", "the run directory; supervised form: it holds config.toml"},
                   {"--attempt", "A", "number of this attempt (set by contrail)"},
                   {"--owner", "TOKEN", "whose lease must stand (set by contrail)"},
                   {"--consent", "ID", "agrees once to other shards (set by contrail)"},
                   {"--progress", "PATH", "progress board in shared memory (set by contrail)"},
                   {"--ranks", "N", "MPI ranks that must have started"},
                   {"--threads", "T", "compute threads of this rank"},
                   {"--from", "STEP", "a committed step (default: the newest)"},
                   kSet},
       .examples = {"mpirun -n 8 contrail-worker train CONFIG.toml"},
       .needs_worker = true}};
  for (const CommandSpec& spec : CommandTable()) {
    if (!spec.needs_worker) continue;
    table.push_back(spec);
    if (spec.name == "eval zero-shot") {
      table.back().options.push_back(
          {"--progress-fd", "FD", "a byte there with every bit of progress (set by contrail)"});
    }
  }
  return table;
}

}  // namespace

const std::vector<CommandSpec>& CommandTable() {
  static const std::vector<CommandSpec> table = MakeTable();
  return table;
}

const std::vector<CommandSpec>& WorkerCommandTable() {
  static const std::vector<CommandSpec> table = MakeWorkerTable();
  return table;
}

}  // namespace contrail
