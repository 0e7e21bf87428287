export { type Config, type LoadOptions, loadConfig, type Settings, VARIABLES } from './config.ts'
export { EXIT } from './exit.ts'
export { main } from './program.ts'
