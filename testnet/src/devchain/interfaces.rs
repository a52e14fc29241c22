//! The contracts as Rust calls them.
#![expect(
    clippy::too_many_arguments,
    reason = "a permit has as many as its standard says"
)]

alloy::sol! {
    /// What is used of `TestToken.sol`.
    #[sol(rpc)]
    #[derive(Debug)]
    interface TestToken {
        /// A payment.
        event Transfer(address indexed from, address indexed to, uint256 value);
        /// Name for people.
        function name() external view returns (string);
        /// Short name.
        function symbol() external view returns (string);
        /// Decimal places of the unit.
        function decimals() external view returns (uint8);
        /// All there is.
        function totalSupply() external view returns (uint256);
        /// What an account has.
        function balanceOf(address account) external view returns (uint256);
        /// What one account may take from another.
        function allowance(address owner, address spender) external view returns (uint256);
        /// The next permit of an account.
        function nonces(address owner) external view returns (uint256);
        /// Makes tokens; for the deployer.
        function mint(address to, uint256 value) external;
        /// Pays.
        function transfer(address to, uint256 value) external returns (bool);
        /// Takes what was allowed.
        function transferFrom(address from, address to, uint256 value) external returns (bool);
        /// Allows.
        function approve(address spender, uint256 value) external returns (bool);
    }

    /// What is used of `Disperse.sol`.
    #[sol(rpc)]
    #[derive(Debug)]
    interface Disperse {
        /// Pays many with the caller's tokens, of which it was allowed enough.
        function disperseToken(address token, address[] calldata to, uint256[] calldata amounts) external;
        /// The same with an approval by signature.
        function disperseTokenWithPermit(address token, address[] calldata to, uint256[] calldata amounts, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external;
    }

    /// What the owner of tokens signs for a permit (EIP-2612).
    #[derive(Debug)]
    struct Permit {
        address owner;
        address spender;
        uint256 value;
        uint256 nonce;
        uint256 deadline;
    }
}
