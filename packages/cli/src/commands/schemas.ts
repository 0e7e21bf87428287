import { checkSchemas, describeIncompatibility, nearest, releaseSchema } from '@weft/schema'
import type { Command } from 'commander'
import { loadConfig } from '../config.ts'
import { catalogueOf, shared } from '../connect.ts'
import { EXIT, Exit } from '../exit.ts'
import { duration, print, printJson, printRows } from '../output.ts'

export function schemas(program: Command): void {
  const group = program
    .command('schemas')
    .summary('check, list, show and release the schemas of the topics')
    .description('Works on the topic catalogue and the Avro schemas beside it; no log is opened.')
    .option('--dir <folder>', 'the folder of catalogue.yaml')
  const load = async (command: Command) => {
    const { config: file, dir } = command.optsWithGlobals<{ config?: string; dir?: string }>()
    const config = await loadConfig({ file })
    return catalogueOf(dir === undefined ? config : { ...config, schemas: dir, base: process.cwd() })
  }

  group
    .command('check')
    .summary('compare each schema with its last released version')
    .description(
      'Compares each schema with its last released version, or with all of them when its compatibility is transitive. Exit code 3 when a change breaks what the catalogue promises.',
    )
    .addHelpText('after', '\nExamples:\n  weft schemas check\n  weft schemas check --json | jq .reason')
    .action(async (_options, command: Command) => {
      const catalogue = await load(command)
      const found = checkSchemas(catalogue)
      const { json } = shared(command)
      for (const each of found) await (json ? printJson(each) : print(describeIncompatibility(each)))
      if (found.length) throw new Exit(EXIT.faults, `${found.length} incompatible changes`)
      if (!json) await print(`${catalogue.topics.size} schemas are compatible with what was released`)
    })

  group
    .command('list')
    .summary('list the topics of the catalogue')
    .addHelpText('after', '\nExamples:\n  weft schemas list\n  weft schemas list --json | jq -r .topic')
    .action(async (_options, command: Command) => {
      const catalogue = await load(command)
      const rows = [...catalogue.topics.values()].map(topic => ({
        topic: topic.name,
        version: topic.schema.version,
        compatibility: topic.compatibility,
        partitions: topic.partitions,
        retention: topic.retentionMs === undefined ? 'compacted' : duration(topic.retentionMs),
        owner: topic.owner,
      }))
      const columns = ['topic', 'version', 'compatibility', 'partitions', 'retention', 'owner']
      return printRows(rows, { json: !!shared(command).json, columns, empty: 'no topics' })
    })

  group
    .command('show')
    .summary('print the Avro schema of a topic')
    .argument('<topic>')
    .option('--version <number>', 'a released version; default: the current schema')
    .addHelpText('after', '\nExamples:\n  weft schemas show alerts.v1\n  weft schemas show alerts.v1 --version 1')
    .action(async (name: string, { version }: { version?: string }, command: Command) => {
      const catalogue = await load(command)
      const topic = topicOf(catalogue.topics, name)
      if (version === undefined) return print(JSON.stringify(topic.avro, null, 2))
      const releases = catalogue.registry.releases(name)
      const release = releases.find(each => String(each.version) === version)
      if (release) return print(JSON.stringify(release.schema, null, 2))
      const versions = releases.map(each => each.version).join(', ') || 'none'
      throw new Exit(EXIT.missing, `${name} has no version ${version}; released are ${versions}`)
    })

  group
    .command('release')
    .summary('write a schema down as its next released version')
    .argument('<topics...>', 'topics, or "all"')
    .addHelpText('after', '\nExamples:\n  weft schemas release alerts.v1\n  weft schemas release all')
    .action(async (names: string[], _options, command: Command) => {
      const { json } = shared(command)
      let catalogue = await load(command)
      const all = names.length === 1 && names[0] === 'all' ? [...catalogue.topics.keys()] : names
      for (const name of all) topicOf(catalogue.topics, name)
      for (const name of all) {
        const release = await releaseSchema(catalogue, name)
        if (json) await printJson({ topic: name, released: !!release, ...release })
        else
          await print(release ? `${name} version ${release.version}, id ${release.id}` : `${name} is released already`)
        // The next id follows from the one just given.
        if (release) catalogue = await load(command)
      }
    })
}

function topicOf<Value>(topics: ReadonlyMap<string, Value>, name: string): Value {
  const topic = topics.get(name)
  if (topic) return topic
  const meant = nearest(name, topics.keys())
  throw new Exit(EXIT.missing, `the catalogue has no topic "${name}"${meant ? `, did you mean "${meant}"?` : ''}`)
}
