/// All times are processor time of the working thread.
struct Report: Encodable {
    struct Search: Encodable {
        var rows: Int
        var dim: Int
        var search_ms: Double
        var read_once_ms: Double
        /// Median over the runs of search time divided by reading time.
        var ratio_to_reading: Double
        /// Quartiles of that ratio.
        var ratio_quartiles: [Double]
        var open_ms: Double
        var queries_measured: Int
    }

    struct Tokens: Encodable {
        var captions: Int
        var merges: Int
        var total_ms: Double
    }

    struct Memory: Encodable {
        var searches: Int
        var growth_bytes: Int?
    }

    /// An index much larger than most libraries: the cost of opening, searching and writing.
    struct Large: Encodable {
        var rows: Int
        var dim: Int
        var file_bytes: Int
        var open_ms: Double
        var search_ms: Double
        /// Opening for writing reads all keys.
        var open_for_writing_ms: Double
        /// Time to add 32 items, as the app does, without waiting for the disk.
        var append_ms: Double
        /// Memory that searching adds to the process, without the mapped file.
        var own_memory_bytes: Int?
    }

    /// Resizing noise to the input of a model, one thread.
    struct Pixels: Encodable {
        var from: Int
        var to: Int
        var runs: Int
        var bicubic_ms: Double
        var bilinear_ms: Double
    }

    var machine: String
    var system: String
    /// Start of the run.
    var date: String
    var load_average: [Double]
    var int8: Search
    var float16: Search
    var tokenizer: Tokens?
    var memory: Memory
    var large: Large?
}
