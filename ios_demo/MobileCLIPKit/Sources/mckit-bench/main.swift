print("mckit-bench")
