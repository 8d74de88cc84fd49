"""The catalogue: every error code with its HTTP status, what it means and what to do. docs/errors.md is made from
it."""

from typing import Final, NamedTuple


class Entry(NamedTuple):
    """`status` is what HTTP answers; codes that only end jobs carry 422 (the data or choice) or 500 (the machine)."""

    area: str
    status: int
    message: str
    hint: str


def _area(name: str, entries: dict[str, tuple[int, str, str]]) -> dict[str, Entry]:
    return {code: Entry(name, *entry) for code, entry in entries.items()}


CATALOGUE: Final[dict[str, Entry]] = {
    **_area(
        "Requests",
        {
            "internal_error": (
                500,
                "Something went wrong on our side.",
                "Try again; if it stays, quote the request id.",
            ),
            "not_authenticated": (401, "No valid credentials were sent.", "Send `Authorization: Bearer <token>`."),
            "csrf_failed": (403, "The form's security token is missing or old.", "Reload the page and try again."),
            "not_allowed": (403, "Your role does not allow this.", "Ask an owner or admin of the team."),
            "not_found": (404, "There is nothing here, or it is not yours to see.", "Check the address and the team."),
            "method_not_allowed": (405, "This address does not take that method.", "See the API documentation."),
            "conflict": (409, "This does not fit the present state.", "Reload and look at the state first."),
            "payload_too_large": (413, "The request is larger than allowed.", "Send less at once."),
            "unsupported_media_type": (415, "This content type is not accepted here.", "See the API documentation."),
            "invalid": (422, "Some fields are not valid.", "Correct the fields named in `params.fields`."),
            "range_invalid": (416, "The file has no such bytes.", "Ask for a range within its size."),
            "malformed_json": (400, "The body is not valid JSON.", "Check quotes, commas and the encoding (UTF-8)."),
            "bad_request": (400, "The request cannot be understood.", "See the API documentation."),
            "unknown_parameter": (422, "A parameter of the query is not known here.", "See the API documentation."),
            "rate_limited": (429, "Too many requests.", "Wait as long as `Retry-After` says."),
            "quota_exceeded": (429, "This month's requests are used up.", "Wait for the next month or raise it."),
            "unavailable": (503, "A part of Slipway cannot be reached just now.", "Try again in a few seconds."),
        },
    ),
    **_area(
        "People",
        {
            "role_too_high": (403, "Nobody can give, change or take a role above their own.", "Ask an owner."),
            "last_owner": (409, "The team needs an owner.", "Make another member owner first."),
            "already_member": (409, "This person is a member of the team already.", "Change their role instead."),
            "invitation_invalid": (410, "The invitation is used, withdrawn or expired.", "Ask for a new one."),
            "invitation_not_yours": (403, "The invitation is for another address.", "Log in with that address."),
            "too_many_tokens": (409, "You have as many tokens as allowed.", "Revoke one that is no longer used."),
        },
    ),
    **_area(
        "Uploads",
        {
            "upload_too_large": (
                413,
                "The file is larger than allowed.",
                "Split it, or raise SLIPWAY_MAX_UPLOAD_BYTES.",
            ),
            "upload_offset_mismatch": (409, "The upload continues at another place.", "Ask for the offset by HEAD."),
            "upload_incomplete": (409, "The upload is not finished.", "Send the rest, then try again."),
            "upload_gone": (410, "The upload was cancelled or has expired.", "Start a new upload."),
            "upload_locked": (423, "Another request is adding to this upload.", "Wait until it has ended."),
            "too_many_uploads": (409, "You have as many unfinished uploads as allowed.", "Finish or cancel one."),
            "upload_in_use": (409, "A dataset was made from this upload.", "It is kept as long as the dataset."),
            "upload_checksum_mismatch": (
                460,
                "The piece does not have the checksum named.",
                "Send it again.",
            ),
            "storage_full": (
                413,
                "The team's storage is used up.",
                "Delete data, or raise SLIPWAY_TEAM_BYTES.",
            ),
            "url_not_allowed": (
                422,
                "Slipway does not fetch from this address.",
                "Give an address of the public internet, or upload the file.",
            ),
            "url_unreachable": (
                422,
                "The file could not be fetched from its address.",
                "Open the address in a browser that is not logged in anywhere, then try again.",
            ),
            "url_timeout": (422, "Fetching the file took too long.", "Try again, or upload the file."),
            "url_too_large": (
                413,
                "The file at this address is larger than allowed.",
                "Split it, or raise SLIPWAY_MAX_UPLOAD_BYTES.",
            ),
            "tus_version": (412, "Only tus 1.0.0 is spoken here.", "Send `Tus-Resumable: 1.0.0`."),
        },
    ),
    **_area(
        "Data",
        {
            "file_empty": (422, "The file is empty.", "Export it again and look at its size."),
            "file_unreadable": (
                422,
                "The file cannot be read.",
                "Open it in the program that made it and save it again.",
            ),
            "format_unknown": (
                422,
                "The file's format is not one that Slipway reads.",
                "Use CSV, TSV, JSON Lines or Parquet; for images a zip or tar of class folders.",
            ),
            "encoding_unknown": (422, "The text's encoding cannot be told.", "Save the file as UTF-8."),
            "column_missing": (422, "A needed column is missing.", "Choose the columns in the import form."),
            "sheet_missing": (422, "The spreadsheet has no sheet of this name.", "Choose one of its sheets."),
            "columns_differ": (
                422,
                "The files do not have the same columns.",
                "Give every file the same header, or import them one by one.",
            ),
            "no_rows": (422, "Not one row could be used.", "Look at the rejected rows in errors.csv."),
            "one_class_only": (422, "All rows have the same label.", "Add examples of at least one other class."),
            "too_few_rows": (
                422,
                "There are too few rows to train and test on.",
                "Add rows; ten per class is a start.",
            ),
            "too_many_rows": (422, "The file has more rows than allowed.", "Split it."),
            "too_many_classes": (
                422,
                "There are more different labels than a classifier can learn.",
                "Choose another label column, or merge labels.",
            ),
            "correction_invalid": (
                422,
                "A correction does not fit the data.",
                "Reload the rows and correct them again.",
            ),
            "edit_empty": (422, "Nothing in the data would change.", "Look at the rows yourself."),
            "archive_unreadable": (422, "The archive cannot be opened.", "Make it again as a plain zip or tar."),
            "archive_encrypted": (422, "The archive is protected by a password.", "Make it again without a password."),
            "archive_bomb": (422, "The archive unpacks to far more than its size.", "Make it again with only images."),
            "archive_inconsistent": (422, "The archive contradicts itself.", "Make it again with an ordinary tool."),
            "archive_too_large": (422, "The archive holds more than allowed.", "Split it."),
            "archive_no_classes": (
                422,
                "No class folders were found in the archive.",
                "Put each image into a folder named like its class.",
            ),
            "too_many_columns": (422, "The table has more columns than allowed.", "Leave out what is not needed."),
            # Issues: problems of columns; nothing is rejected for them.
            "column_ignored": (
                422,
                "Some columns hold nothing that a model could learn from.",
                "Nothing to do, unless one of them should count: an id says nothing, a text needs a text dataset.",
            ),
            "column_nearly_constant": (
                422,
                "Some columns are almost always the same.",
                "Usually they can be left out.",
            ),
            "column_gaps": (422, "Some columns are mostly empty.", "Fill them in, or leave them out."),
            "date_ambiguous": (
                422,
                "Dates may be day/month or month/day, and no cell tells; the month was taken to come first.",
                "Where the day comes first, write dates as 2024-01-31.",
            ),
            "cell_odd": (
                422,
                "Some cells are no number or date where nearly all others are; they count as empty.",
                "Correct them in the file, if they should count.",
            ),
            # Issues: problems of single rows or entries. The import goes on without them.
            "row_malformed": (422, "The row does not have the columns of the header.", "Check quotes and separators."),
            "row_undecodable": (422, "The row holds bytes that are no text.", "Save the file as UTF-8."),
            "text_missing": (422, "The text is empty.", "Fill it in or leave the row out."),
            "text_too_long": (422, "The text is longer than allowed.", "Shorten it."),
            "label_missing": (
                422,
                "The label is empty.",
                "Fill it in or leave the row out. Where rows have several labels and an empty cell means none of them, "
                "import the file again and say so (empty_label: none).",
            ),
            "label_list": (
                422,
                "The label is a list, and nearly all other rows have one label.",
                "Give the row one label. If rows are to have several, name the sign between them (label_separator).",
            ),
            "user_missing": (422, "The user is empty.", "Fill it in or leave the row out."),
            "item_missing": (422, "The item is empty.", "Fill it in or leave the row out."),
            "rating_invalid": (422, "The rating is not a number.", "Use plain numbers such as 3.5."),
            "timestamp_invalid": (422, "The time cannot be read.", "Use ISO 8601 or seconds since 1970."),
            "split_invalid": (422, "The split is not train, validation or test.", "Use one of these three words."),
            "image_unreadable": (422, "The image cannot be decoded.", "Save it again as JPEG or PNG."),
            "image_truncated": (422, "The image ends too early.", "Copy it again."),
            "image_too_large": (422, "The image is larger than allowed.", "Scale it down."),
            "image_format": (422, "The file is not a JPEG, PNG, WebP, GIF or BMP image.", "Save it as JPEG."),
            "entry_path": (422, "The entry's path leaves the archive.", "Make the archive with relative paths."),
            "entry_link": (422, "The entry is a link or a special file.", "Put the file itself into the archive."),
            "entry_encrypted": (422, "The entry is protected by a password.", "Make the archive without one."),
            "entry_duplicate": (422, "Another entry has the same path.", "Rename one of them."),
            "entry_unreadable": (422, "The entry cannot be unpacked.", "Make the archive again with an ordinary tool."),
            "entry_ignored": (422, "System files beside the images were left out.", "Nothing to do."),
            "column_left_out": (
                422,
                "Some columns hold lists, maps or bytes, which are not read.",
                "Nothing to do, unless one of them should count: write its values as columns of texts or numbers.",
            ),
            "file_left_out": (
                422,
                "Files or sheets that are no part of the table were left out.",
                "Import them by themselves, where they hold data of use.",
            ),
            "entry_no_class": (422, "The image lies in no class folder.", "Put it into a folder named like its class."),
            "duplicate_rows": (422, "Some items occur more than once.", "Usually fine; they never straddle splits."),
            "duplicate_conflict": (422, "The same item has different labels.", "Decide which label is right."),
            "duplicate_across_splits": (
                422,
                "The same item is in more than one split of the file.",
                "Take its copies out of training; until then scores come out too high.",
            ),
            "near_duplicate": (
                422,
                "Some items are nearly the same: copies with small changes.",
                "Usually fine: Slipway keeps them in one split. Drop them if they are the same by mistake.",
            ),
            "near_duplicate_conflict": (
                422,
                "Items that are nearly the same have different labels.",
                "Look whether the small difference explains it; otherwise decide which label is right.",
            ),
            "near_duplicate_across_splits": (
                422,
                "Items that are nearly the same are in more than one split.",
                "Take their like out of training; until then scores come out too high.",
            ),
            "near_duplicates_partly": (
                422,
                "Only a part of the items was looked at for near-duplicates.",
                "Nothing to do; the others may hold near-duplicates, too.",
            ),
            "class_similar": (
                422,
                "Labels differ only in case, spaces, dashes or the width of letters.",
                "Merge them if they mean the same; they count as different classes.",
            ),
            "class_typo": (
                422,
                "Rare labels are one letter away from a frequent one.",
                "Correct them if they are slips of the pen; they count as different classes.",
            ),
            "labels_in_one": (
                422,
                "Labels look like several labels in one.",
                "If they are, import the file again and name the sign between them (label_separator).",
            ),
            "labels_mixed": (
                422,
                "Some rows have a list of labels, others a plain one: now all rows have several.",
                "If each row is to have one label, correct these rows and import the file again.",
            ),
            "class_small": (422, "A class has very few examples.", "Add examples, at least ten."),
            "class_imbalance": (
                422,
                "The classes are of very different sizes.",
                "Training weighs them; more data helps.",
            ),
            "label_suspect": (
                422,
                "Labels look wrong to a model that did not learn from their rows.",
                "Look at them; accept what the model suggests where it is right.",
            ),
            "text_mojibake": (
                422,
                "Texts hold signs of a wrong encoding, such as “Ã©” for “é”.",
                "Export the file as UTF-8 again; the model would learn the broken letters.",
            ),
            "text_markup": (422, "Texts hold HTML.", "Take the tags out, unless your model will meet them too."),
            "text_personal": (
                422,
                "Texts hold what looks like e-mail addresses, phone numbers or payment cards.",
                "Mask them, unless you may use them for this.",
            ),
            "text_long": (
                422,
                "Some texts are far longer than the others.",
                "Models that read whole sentences see only their beginning: cut out what matters.",
            ),
            "text_short": (
                422,
                "Some texts are of one or two characters.",
                "Look whether something is missing; little can be learned of them.",
            ),
            "text_is_id": (422, "The texts look like ids or numbers.", "Choose another column as the text."),
            "text_scripts": (
                422,
                "The texts are in several scripts.",
                "Fine where your model will meet all of them; the report shows how it does in each.",
            ),
            "text_languages": (
                422,
                "Some texts are in another language than most.",
                "Leave them out if your model will not meet them; else see that each class has enough of them.",
            ),
            "image_tiny": (
                422,
                "Images are less than 16 pixels wide or high.",
                "Little can be seen on them: use the originals, unless they are icons.",
            ),
            "image_huge": (
                422,
                "Images have sides of more than 6,000 pixels.",
                "Nothing to do: the model sees them scaled down, small details may be lost.",
            ),
            "image_stretched": (
                422,
                "Images are more than four times as long as they are wide.",
                "Cut out what matters: the model sees a square.",
            ),
            "image_blank": (
                422,
                "Images are of one colour, with nothing on them.",
                "Remove them, unless blank is what the class means.",
            ),
            "image_animated": (422, "Images are animated.", "Nothing to do: the first picture of each is used."),
            "image_cmyk": (
                422,
                "Images are in the colours of print (CMYK).",
                "Nothing to do: they are converted. Save them as RGB where colours must be exact.",
            ),
            "image_rotated": (
                422,
                "Images lie on their side and say so in their EXIF data.",
                "Nothing to do: they are turned upright before they are used.",
            ),
            "image_grey": (
                422,
                "Images are grey though stored in colour.",
                "Fine if your model will meet grey images; otherwise look where their colours went.",
            ),
            "image_grey_mixed": (
                422,
                "Classes hold grey images beside coloured ones.",
                "Make sure that grey is no sign of the class: the model would learn that instead.",
            ),
            "user_once": (
                422,
                "Users with a single interaction.",
                "They stay in training, and are neither validation nor test.",
            ),
            "item_once": (422, "Items with a single interaction.", "Little can be learned about them; nothing to do."),
            "timestamp_future": (422, "Times lie in the future.", "Look whether seconds, zone and format are right."),
            "timestamp_constant": (
                422,
                "All times are the same.",
                "Leave the column out: without an order in time, test items are drawn at random.",
            ),
            "interaction_repeated": (422, "The same user and item occur more than once.", "Counted once."),
        },
    ),
    **_area(
        "Jobs",
        {
            "parameters_invalid": (
                422,
                "Some parameters are not valid.",
                "Correct the fields named in `params.fields`.",
            ),
            "template_unknown": (422, "There is no such task template.", "See GET /api/v1/task-templates."),
            "template_mismatch": (422, "The template does not fit this kind of data.", "Choose another template."),
            "prediction_not_ready": (409, "The prediction has no answers.", "Wait for its job, or see its error."),
            "dataset_not_ready": (409, "The dataset is not ready.", "Wait for its import, or look at its error."),
            "job_ended": (409, "The job has already ended.", "Start a new one."),
            "out_of_memory": (500, "The job ran out of memory.", "Use a smaller preset or batch size."),
            "not_finite": (500, "The loss stopped being a number.", "Lower the learning rate."),
            "time_limit": (500, "The job ran longer than its time limit.", "Raise the limit or use a faster preset."),
            "attempts_exhausted": (500, "The job was interrupted too often.", "Look at the worker host, then retry."),
            "engine_crashed": (500, "The training process ended unexpectedly.", "Retry; the log shows its last words."),
            "disk_full": (507, "The disk is full.", "Free space on the host or in the store, then retry."),
            "storage_unavailable": (503, "The artifact store cannot be reached.", "Check SLIPWAY_STORAGE, then retry."),
            "input_corrupt": (500, "An input file is not the one that was stored.", "Import the data again."),
            "artifact_missing": (404, "A stored file is gone.", "Import the data or train the model again."),
            "checkpoint_corrupt": (500, "A checkpoint is damaged.", "The job starts again from the beginning."),
            "encoder_unreachable": (
                422,
                "The encoder is not here, and the hub cannot give it.",
                "Check its name; or have its folder put under SLIPWAY_ENCODERS on the worker host (docs/encoders.md).",
            ),
            "encoder_invalid": (
                422,
                "The encoder cannot be used.",
                "Choose one that transformers loads without code of its own, with its weights in safetensors.",
            ),
            "parity_failed": (
                500,
                "The exported model answers differently from the trained one.",
                "Report it with the job id; the model cannot be deployed.",
            ),
            "cancelled": (409, "The job was cancelled.", "Start it again."),
            "job_crashed": (500, "The job failed on an error of ours.", "Report it with the job id."),
        },
    ),
    **_area(
        "Models and endpoints",
        {
            "bundle_invalid": (422, "The bundle is damaged or not acceptable.", "Train the model again."),
            "certificate_missing": (409, "The model has no passed parity certificate.", "Train the model again."),
            "nothing_to_roll_back": (409, "There is no earlier revision.", "Deploy another model first."),
            "nothing_to_promote": (409, "No model is on trial here.", "Deploy one with less than all of the traffic."),
            "model_mismatch": (409, "The model does not fit the endpoint.", "Create a new endpoint."),
        },
    ),
    **_area(
        "Predictions",
        {
            "key_missing": (401, "No API key was sent.", "Send `Authorization: Bearer <key>`."),
            "key_invalid": (401, "The API key is not known, expired or revoked.", "Create a new key in the dashboard."),
            "key_not_for_endpoint": (403, "The API key is not for this endpoint.", "Use another key."),
            "endpoint_not_found": (404, "There is no such endpoint.", "Check the address."),
            "revision_not_found": (
                404,
                "The endpoint has no such revision online.",
                "Leave `X-Slipway-Revision` out, or name `candidate` or a model's number that is deployed here.",
            ),
            "endpoint_not_ready": (503, "The endpoint is loading its model.", "Try again in a few seconds."),
            "input_invalid": (422, "An input is not what the model takes.", "See GET on the endpoint for an example."),
            "too_many_inputs": (422, "More inputs than allowed in one request.", "Send several requests."),
            "overloaded": (503, "The endpoint has more work than it can hold.", "Wait as long as `Retry-After` says."),
            "deadline_exceeded": (503, "The prediction took too long to be started.", "Try again."),
            "prediction_failed": (
                500,
                "The model failed on this input.",
                "Try again; if it stays, quote the request id.",
            ),
        },
    ),
}

# What a button on a job's card does: "resume" runs the job again from its last checkpoint, "retry" from the beginning,
# "import" and "data" lead to the dataset.
REPAIRS: Final[dict[str, str]] = {
    "time_limit": "resume",
    "quota_exceeded": "resume",
    "attempts_exhausted": "resume",
    "disk_full": "resume",
    "storage_unavailable": "resume",
    "out_of_memory": "retry",
    "not_finite": "retry",
    "engine_crashed": "retry",
    "checkpoint_corrupt": "retry",
    "parity_failed": "retry",
    "job_crashed": "retry",
    "cancelled": "retry",
    "url_unreachable": "retry",
    "url_timeout": "retry",
    "input_corrupt": "import",
    "artifact_missing": "import",
    "one_class_only": "data",
    "too_few_rows": "data",
}
