#!/bin/sh
# Checks a bundle and puts it into the app: sh ios_demo/add_bundle.sh BUNDLE
#
# An earlier bundle of the same name is replaced once the copy has been checked.
set -eu

[ $# -eq 1 ] && [ -f "$1/manifest.json" ] || {
    echo "Usage: sh ios_demo/add_bundle.sh BUNDLE, where BUNDLE is a folder made by mckit bundle." >&2
    exit 2
}
mckit=${MCKIT:-mckit}
bundles=$(dirname "$0")/MobileCLIPDemo/Bundles
source=$(cd "$1" && pwd)
target=$bundles/$(basename "$source")
staging=$bundles/.$(basename "$source").part

rm -rf "$staging"
trap 'rm -rf "$staging"' EXIT
cp -R "$source" "$staging"
"$mckit" bundle --check "$staging"
rm -rf "$target"
mv "$staging" "$target"
echo "$target is in the app. Open MobileCLIPDemo.xcodeproj and run it."
