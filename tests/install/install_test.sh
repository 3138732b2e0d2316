#!/usr/bin/env bash
# The installed tree: installed to a prefix, moved, and used by a user without rights, with nothing
# of the build left to lean on.
#   install_test.sh BUILD_DIR
set -euo pipefail
build=$(realpath "$1")
photos=/usr/share/datasets/fashion-mnist
work=$(mktemp -d "$build/install-test.XXXXXX")
trap 'rm -rf "$work"' EXIT
fail() { printf 'install_test: %s\n' "$*" >&2; exit 1; }

cmake --install "$build" --prefix "$work/first" >"$work/install.log"
mv "$work/first" "$work/moved here"
tree="$work/moved here"
source=$(sed -n 's/^CMAKE_HOME_DIRECTORY:INTERNAL=//p' "$build/CMakeCache.txt")

# Nothing points back: no run path into the build or the sources, no text that names them.
find "$tree" -type f \( -perm -u+x -o -name '*.so*' \) | while read -r file; do
  paths=$(readelf -d "$file" 2>/dev/null | sed -n 's/.*R\(UN\)\?PATH.*\[\(.*\)\]/\2/p')
  case ":$paths:" in *"$build"* | *"$source"*) fail "$file: run path $paths" ;; esac
done
if grep -rlIF -e "$build" -e "$source" "$tree/share"; then fail "these files name the build tree"; fi

# Everything the programs load lies in the moved tree or in the system. Debug information apart,
# what they say must not either.
unset LD_LIBRARY_PATH
for program in contrail contrail-worker; do
  ldd "$tree/bin/$program" >"$work/ldd"
  ! grep -q 'not found' "$work/ldd" || fail "$program: $(grep 'not found' "$work/ldd")"
  ! grep -e "$source" "$work/ldd" | grep -v "$tree" || fail "$program leans on the build tree"
done

# A user without rights, with a bare environment.
home="$work/home"
mkdir "$home"
as_user=(env -i PATH="$tree/bin:/usr/bin:/bin" HOME="$home" LC_ALL=C.UTF-8)
if [ "$(id -u)" = 0 ]; then
  chown nobody "$home"
  chmod 755 "$work"
  as_user=(runuser -u nobody -- "${as_user[@]}")
fi
cd "$home"
"${as_user[@]}" contrail --help | grep -q 'train' || fail "contrail --help"
"${as_user[@]}" contrail-worker --help | grep -q 'train' || fail "contrail-worker --help"
"${as_user[@]}" man -l "$tree/share/man/man1/contrail.1" 2>&1 | grep -q 'CONTRAIL' || fail "manual page"
bash -n "$tree/share/bash-completion/completions/contrail" || fail "completion"
[ -s "$tree/share/contrail/modulefiles/contrail/"*.lua ] || fail "module file"

presets="$tree/share/contrail/presets"
pack() {
  "${as_user[@]}" contrail data pack "$1" --images "$photos/$2-images-idx3-ubyte.gz" \
    --labels "$photos/$2-labels-idx1-ubyte.gz" --classes "$presets/fashion_classnames.txt" \
    --templates "$presets/fashion_templates.txt" --limit "$3"
}
pack train train 600
pack test t10k 50
"${as_user[@]}" contrail train "$presets/quickstart.toml" --ranks 2 --run run \
  --set "data.train=train/pairs-000000.tar" --set train.steps=2 --set train.global_batch_size=32 \
  --set eval.zero_shot=test
steps=$("${as_user[@]}" contrail view run --json --series loss | wc -l)
[ "$steps" = 2 ] || fail "$steps steps recorded, not 2"
"${as_user[@]}" contrail eval zero-shot --checkpoint run --dataset test --json | grep -q '"samples": 50' ||
  fail "zero-shot"
[ "$(stat -c %U run/config.toml)" != root ] || [ "$(id -u)" != 0 ] || fail "the run belongs to root"

# sbatch scripts and site profiles travel too.
[ -f "$tree/share/contrail/slurm/train.sbatch" ] || fail "train.sbatch"
echo "install_test: $(du -sm "$tree" | cut -f1) MB, moved, 2 steps on 2 ranks"
